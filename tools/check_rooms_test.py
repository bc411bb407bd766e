#!/usr/bin/env python3
"""Each rule of check_rooms.py on a small tree: what breaks it, and the nearest thing that does not."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import check_rooms

ROOMS = """# bottom floor first
base:
tensor: base
ir: base tensor
device: base tensor
kernel: base tensor device
comm: base tensor device
ops: base tensor ir
ops_kernels: base tensor device kernel
runtime: base tensor device kernel
nn: base tensor ir ops
compile: base tensor ir ops runtime kernel
testing: base tensor ir ops ops_kernels device kernel compile runtime
train: base tensor ir ops nn compile runtime
apps: base tensor ir ops nn compile runtime train
"""

HEADERS = ("base/error.h", "tensor/shape.h", "ir/graph.h", "device/buffer.h", "kernel/kernel.h",
           "ops/softmax/softmax.h", "runtime/session.h", "nn/layer.h", "testing/harness.h", "train/loop.h")


class CheckRooms(unittest.TestCase):
    def check(self, files, rooms=ROOMS):
        """The violations of a tree that holds `files` beside one header in each room."""
        with tempfile.TemporaryDirectory() as root:
            tree = {f"src/{header}": "" for header in HEADERS} | {"src/ROOMS": rooms} | files
            for name, text in tree.items():
                path = Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return [f"{name}:{line}: {message}" for name, line, message in check_rooms.Checker(root).run()]

    def refuses(self, files, message, rooms=ROOMS):
        self.assertEqual(self.check(files, rooms), [message])

    def accepts(self, files, rooms=ROOMS):
        self.assertEqual(self.check(files, rooms), [])

    def test_accepts_an_include_downwards(self):
        self.accepts({"src/ir/graph.cc": '#include "ir/graph.h"\n#include "tensor/shape.h"\n#include '
                                         '<vector>\n'})

    def test_refuses_an_include_upwards(self):
        self.refuses({"src/ir/graph.cc": '\n#include "ops/softmax/softmax.h"\n'},
                     "src/ir/graph.cc:2: room 'ir' may not include 'ops' (\"ops/softmax/softmax.h\")")

    def test_ignores_an_include_in_a_comment(self):
        self.accepts({"src/ir/graph.cc": '// #include "nn/layer.h"\n/*\n#include "nn/layer.h"\n*/\n'})

    def test_sees_an_include_after_a_quote_in_a_comment_and_a_digit_separator(self):
        self.refuses({"src/ir/graph.cc": "int n = 1'000;  // don't\n#include \"nn/layer.h\"\n"},
                     "src/ir/graph.cc:2: room 'ir' may not include 'nn' (\"nn/layer.h\")")

    def test_refuses_a_header_that_is_not_there(self):
        self.refuses({"src/ir/graph.cc": '#include "tensor/gone.h"\n'},
                     "src/ir/graph.cc:1: there is no src/tensor/gone.h")

    def test_refuses_a_header_of_no_room(self):
        self.refuses({"src/ir/graph.cc": '#include "graph.h"\n'},
                     'src/ir/graph.cc:1: "graph.h" lies in no room; rooms\' headers are written from src, '
                     "those of libraries with <>")

    def test_refuses_a_room_between_angle_brackets(self):
        self.refuses({"src/ir/graph.cc": "#include <ir/graph.h>\n"},
                     'src/ir/graph.cc:1: header of a room included with <>: write "ir/graph.h"')

    def test_checks_apps_and_lets_them_have_headers_of_their_own(self):
        self.accepts({"apps/cli/command.h": "", "apps/cli/main.cc": '#include "command.h"\n#include '
                                                                    '"train/loop.h"\n',
                      "bench/step.cc": '#include "bench/clock.h"\n', "bench/clock.h": ""})
        self.refuses({"python/module.cc": '#include "testing/harness.h"\n'},
                     "python/module.cc:1: room 'apps' may not include 'testing' (\"testing/harness.h\")")

    def test_uses_the_own_line_of_a_folder_beside_src(self):
        self.accepts({"fuzz/graph.cc": '#include "testing/harness.h"\n'}, ROOMS + "fuzz: testing\n")

    def test_a_test_may_look_up_as_far_as_testing(self):
        self.accepts({"src/tensor/shape_test.cc": '#include "testing/harness.h"\n#include "nn/layer.h"\n',
                      "src/train/loop_test.cc": '#include "train/loop.h"\n'})
        self.refuses({"src/tensor/shape_test.cc": '#include "train/loop.h"\n'},
                     "src/tensor/shape_test.cc:1: room 'tensor' may not include 'train' (\"train/loop.h\")")

    def test_a_test_needs_rooms_that_exist(self):
        self.refuses({"src/ir/graph_test.cc": '#include "graphs/graph.h"\n'},
                     'src/ir/graph_test.cc:1: "graphs/graph.h" lies in no room; rooms\' headers are '
                     'written from src, '
                     "those of libraries with <>")

    def test_internal_headers_are_private_to_their_room(self):
        secret = {"src/tensor/internal/secret.h": ""}
        self.accepts(secret | {"src/tensor/shape.cc": '#include "tensor/internal/secret.h"\n'})
        self.refuses(secret | {"src/ir/graph_test.cc": '#include "tensor/internal/secret.h"\n'},
                     'src/ir/graph_test.cc:1: "tensor/internal/secret.h" is private to src/tensor/')

    def test_the_kernels_of_an_op_are_a_room_of_their_own(self):
        self.accepts({"src/ops/softmax/softmax_cpu.cc": '#include "kernel/kernel.h"\n',
                      "src/ops/softmax/softmax_cuda.cc": '#include "kernel/kernel.h"\n',
                      "src/ops/softmax/softmax.cc": '#include "ir/graph.h"\n'})
        self.refuses({"src/ops/softmax/softmax.cc": '#include "kernel/kernel.h"\n'},
                     "src/ops/softmax/softmax.cc:1: room 'ops' may not include 'kernel' "
                     "(\"kernel/kernel.h\")")
        for kind in ("cc", "cu"):
            self.refuses({f"src/ops/softmax/softmax_cuda.{kind}": '#include "ir/graph.h"\n'},
                         f"src/ops/softmax/softmax_cuda.{kind}:1: room 'ops_kernels' may not include 'ir' "
                         "(\"ir/graph.h\")")

    def test_a_definition_may_read_a_plain_kernel_header_only(self):
        definition = {"src/ops/softmax/softmax.cc": '#include "ops/softmax/rows_kernel.h"\n'}
        self.accepts(definition | {"src/ops/softmax/rows_kernel.h": '#include '
                                                                    '"tensor/shape.h"\n#include <cmath>\n'})
        self.refuses(definition | {"src/ops/softmax/rows_kernel.h": '#include "ops/softmax/more_kernel.h"\n',
                                   "src/ops/softmax/more_kernel.h": '#include "kernel/kernel.h"\n'},
                     "src/ops/softmax/softmax.cc:1: an op's definition may include "
                     "\"ops/softmax/rows_kernel.h\" only "
                     "if that stands on nothing above tensor, but \"ops/softmax/more_kernel.h\" includes "
                     '"kernel/kernel.h"')

    def test_no_op_includes_the_kernels_of_another(self):
        self.refuses({"src/ops/attention/attention_cpu.cc": '#include "ops/softmax/rows_kernel.h"\n',
                      "src/ops/softmax/rows_kernel.h": ""},
                     'src/ops/attention/attention_cpu.cc:1: kernel of another op, '
                     '"ops/softmax/rows_kernel.h": what two '
                     "ops share moves to 'kernel'")

    def test_cuda_headers_stay_at_home(self):
        headers = "#include <cuda_runtime.h>\n#include <nccl.h>\n#include <cublasLt.h>\n#include <nvrtc.h>\n"
        self.accepts({"src/device/cuda/stream.cc": headers, "src/kernel/cuda/tile.cuh": headers,
                      "src/comm/nccl.cc": headers, "src/ops/softmax/softmax_cuda.cu": headers})
        self.refuses({"src/device/stream.cc": "#include <cuda_runtime.h>\n"},
                     "src/device/stream.cc:1: CUDA header <cuda_runtime.h> outside device/cuda, "
                     "kernel/cuda, comm/nccl* "
                     "and ops/*_cuda.cu")
        self.refuses({"src/runtime/session.cc": '#include "cuda.h"\n'},
                     "src/runtime/session.cc:1: CUDA header <cuda.h> outside device/cuda, kernel/cuda, "
                     "comm/nccl* "
                     "and ops/*_cuda.cu")

    def test_kernels_are_launched_in_one_file(self):
        launch = {"src/device/cuda/launch.h": "kernel<<<grid, block>>>(args);\n"}
        self.accepts(launch | {"src/ops/softmax/softmax_cuda.cu": '// not <<<\nauto text = "<<<";\n'})
        self.assertEqual(self.check(launch | {"src/ops/softmax/softmax_cuda.cu": "\nk<<<1, 1>>>();\n"}), [
            "src/device/cuda/launch.h:1: '<<<' may stand in one file only; it is also in "
            "src/ops/softmax/softmax_cuda.cu",
            "src/ops/softmax/softmax_cuda.cu:2: '<<<' may stand in one file only; it is also in "
            "src/device/cuda/launch.h"])

    def test_rooms_do_not_print_or_exit(self):
        for code, word in (("std::cout << 1;", "cout"), ("std::cerr << 1;", "cerr"),
                           ('printf("a");', "printf"),
                           ("std::exit(1);", "exit"), ("fprintf(stderr, text);", "stderr"),
                           ('fmt::print("a");', "fmt::print")):
            self.refuses({"src/ir/graph.cc": f"\n{code}\n"},
                         f"src/ir/graph.cc:2: room 'ir' must not print or exit: '{word}' belongs to apps")

    def test_what_only_looks_like_printing_is_let_through(self):
        self.accepts({"src/ir/graph.cc": 'print(graph);\nscope.exit();\nsnprintf(b, n, '
                                         '"x");\nfprintf(file, "x");\n'
                                         'auto s = R"(printf("a"))";\n// exit(1)\n'})

    def test_apps_and_tests_may_print(self):
        self.accepts({"apps/cli/main.cc": "std::cout << 1;\n", "src/ir/graph_test.cc": "std::cout << 1;\n"})

    def test_nn_names_no_device(self):
        self.refuses({"src/nn/layer.cc": "\nif (device == Device::Cuda) {}\n"},
                     "src/nn/layer.cc:2: room 'nn' names no device: 'Cuda'")
        self.accepts({"src/nn/layer_test.cc": "run_on_cpu();\n"})

    def test_the_floors_have_no_circle(self):
        self.refuses({}, "src/ROOMS:2: rooms include each other in a circle: base -> ir -> tensor -> base",
                     ROOMS.replace("base:\n", "base: ir\n").replace("ir: base tensor", "ir: tensor"))

    def test_every_room_stands_in_the_table(self):
        self.refuses({"src/serve/server.h": ""}, "src/ROOMS:1: no line for room 'serve': folder src/serve")
        self.refuses({}, "src/ROOMS:15: room 'apps' may include 'server', which has no line",
                     ROOMS.replace("apps: base", "apps: server base"))
        self.refuses({"apps/cli/main.cc": ""}, "src/ROOMS:1: no line for room 'apps': folder apps",
                     ROOMS[:ROOMS.index("apps:")])

    def test_a_line_of_the_table_names_a_room(self):
        self.refuses({}, "src/ROOMS:16: expected 'room: rooms that it may include', found 'serve base'",
                     ROOMS + "serve base\n")

    def test_a_source_file_lies_in_a_room(self):
        self.refuses({"src/stray.cc": ""}, "src/stray.cc:1: a source file of src must lie in a room's folder")

    def test_a_room_stands_in_the_table_once(self):
        self.refuses({}, "src/ROOMS:16: room 'base' stands in line 2 already", ROOMS + "base:\n")

    def test_the_command_prints_and_fails(self):
        with tempfile.TemporaryDirectory() as root:
            Path(root, "src/base").mkdir(parents=True)
            Path(root, "src/ROOMS").write_text("base:\n")
            command = [sys.executable, check_rooms.__file__, root]
            good = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((good.returncode, good.stdout), (0, ""))
            Path(root, "src/base/a.h").write_text('#include "b.h"\n')
            bad = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(bad.returncode, 1)
            self.assertIn('src/base/a.h:1: "b.h" lies in no room', bad.stdout)


if __name__ == "__main__":
    unittest.main()
