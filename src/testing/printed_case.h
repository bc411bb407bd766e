// A whole graph printed as a source, built or interpreted by another program, and run.
#pragma once
#include <string>
#include <vector>

#include "testing/program_case.h"

namespace floe {

// Why printed sources cannot be run here: "no C++ compiler ..."; empty when they can.
std::string why_no_cpp();
std::string why_no_numpy();

// A source into a shared library: "" or what the compiler said.
std::string build_cpp(const std::string& source_file, const std::string& library_file,
                      const std::string& optimisation = "-O2");

struct PrintedCase {
  TensorMap inputs, states;
};

// Prints for the sizes of the inputs, builds, loads, runs once. `failed_step`: what the function returned;
// the test fails if it is not 0 and nobody asked.
ProgramResult run_printed_cpp(const Graph& graph, const PrintedCase& given, int* failed_step = nullptr,
                              const std::string& optimisation = "-O1");

// One file and one process for all cases. `error`: what Python said, as above.
std::vector<ProgramResult> run_printed_numpy(const Graph& graph, const std::vector<PrintedCase>& given,
                                             std::string* error = nullptr);

// Every output and every state against the reference evaluator (expect_close with `ulps`).
void check_printed(const Graph& graph, const PrintedCase& given, const ProgramResult& got, double ulps,
                   const std::string& what);

}  // namespace floe
