// Measurements in processes of their own: peak memory belongs to a whole process, so whatever is compared
// runs in one by itself, prints a JSON object in its last line, and ends.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace floe {

// Runs `command` and reads the object in the last line that it printed; its standard error goes to ours.
// Throws Error{io} naming the command when it does not start, fails or prints something else.
nlohmann::ordered_json run_for_json(const std::vector<std::string>& command);

// What waitpid's status says: "cannot be started", "ended with exit code 3".
std::string how_it_ended(int status);

// This program, for running itself.
std::string own_program();

// The largest resident size that this process ever had (VmHWM). Not getrusage's ru_maxrss: a process inherits
// that from the one that started it.
int64_t peak_resident_bytes();

// Processor time of all threads of this process.
double cpu_seconds();

double median(std::vector<double> values);

}  // namespace floe
