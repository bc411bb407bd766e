// Whole models: what they become, and how bad ones are refused.
#include "frontend/onnx.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "frontend/onnx_for_test.h"
#include "frontend/onnx_tensor.h"
#include "ir/evaluate.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "testing/program_case.h"

namespace floe {
namespace {

using testing::HasSubstr;

std::string refusal(const OnnxText& text, const OnnxOptions& options = {}) {
  try {
    import_onnx(*text.model(), all_ops(), options);
  } catch (const Error& e) {
    EXPECT_NE(e.kind(), ErrorKind::bug) << e.what();
    return e.what();
  }
  return "";
}

std::vector<double> numbers(const RefTensor& t) {
  std::vector<double> out;
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(t.number(i));
  return out;
}

TEST(Onnx, KeepsDimsWithANameSymbolic) {
  OnnxText text;
  text.input("x", {-1, 3}).output("y").node("Relu", {"x"}, {"y"});
  const OnnxImport import = import_onnx(*text.model(), all_ops());
  verify(import.graph, "import");
  EXPECT_THAT(print(import.graph), HasSubstr("relu(%0) : f32[n, 3]"));
  for (const int64_t n : {0, 1, 2, 7}) {
    check_program(import.graph, {{"x", random_shared(DType::f32, {n, 3}, 1)}}, {});
  }
}

TEST(Onnx, BoundsADimWhereANodeNeedsIt) {
  OnnxText text;
  text.input("x", {2, -1, 4})
      .output("y")
      .floats("table", {8, 4}, std::vector<float>(32, 1))
      .ints("zero", {1}, {0});
  text.ints("at", {}, {1}).node("Shape", {"x"}, {"s"}).node("Gather", {"s", "at"}, {"n0"}, {{"axis", 0}});
  text.node("Unsqueeze", {"n0", "zero"}, {"n"}).node("Slice", {"table", "zero", "n"}, {"rows"});
  text.node("Add", {"x", "rows"}, {"y"});
  const auto model = text.model();
  const OnnxImport import = import_onnx(*model, all_ops());
  EXPECT_EQ(import.graph.symbols().all().at("n").max, 8);
  for (const int64_t n : {0, 1, 8})
    check_program(import.graph, {{"x", random_shared(DType::f32, {2, n, 4}, 1)}}, {});
  const auto shapes_fixed = [&](int64_t n) {
    return import_onnx_for(*model, all_ops(), {{"x", random_shared(DType::f32, {2, n, 4}, 1)}}).fixed_shapes;
  };
  EXPECT_FALSE(shapes_fixed(8));
  EXPECT_THROW(shapes_fixed(9), Error);  // 9 rows and the 8 of the table
}

// Flattens behind the batch through Shape, Gather, Unsqueeze and Concat, as exporters write it.
TEST(Onnx, FollowsShapesThroughTheGraph) {
  OnnxText text;
  text.input("x", {-1, 3, 4})
      .output("y")
      .ints("zero", {}, {0})
      .ints("axes", {1}, {0})
      .ints("rest", {1}, {-1});
  text.node("Shape", {"x"}, {"s"}).node("Gather", {"s", "zero"}, {"n"}, {{"axis", 0}});
  text.node("Unsqueeze", {"n", "axes"}, {"n1"}).node("Concat", {"n1", "rest"}, {"to"}, {{"axis", 0}});
  text.node("Reshape", {"x", "to"}, {"y"});
  const OnnxImport import = import_onnx(*text.model(), all_ops());
  EXPECT_EQ(text_of(import.graph.type(import.graph.outputs()[0].value)), "f32[n, 12]");
  EXPECT_TRUE(import.specialised.empty());
}

TEST(Onnx, GivesShapesAsValuesToo) {
  OnnxText text;
  text.input("x", {-1, 3}).output("s").output("n").node("Shape", {"x"}, {"s"}).node("Size", {"x"}, {"n"});
  const OnnxImport import = import_onnx(*text.model(), all_ops());
  const Evaluation got = evaluate(import.graph, {{"x", ref_of(Tensor(DType::f32, {5, 3}))}}, {});
  EXPECT_THAT(numbers(got.outputs.at("s")), testing::ElementsAre(5, 3));
  EXPECT_THAT(numbers(got.outputs.at("n")), testing::ElementsAre(15));
}

TEST(Onnx, IsSpecialisedToTheValueOfAnInputOnlyWhereItMust) {
  OnnxText text;
  text.input("x", {2, 6}).input("to", {2}, 7).input("z", {2}, 7).output("y").output("w");
  text.node("Reshape", {"x", "to"}, {"y"}).node("Neg", {"z"}, {"w"});
  EXPECT_THAT(refusal(text), HasSubstr("model.onnx: node 'Reshape_y' (Reshape): the shape depends on data"));
  Tensor to(DType::i64, {2});
  to.as<int64_t>()[0] = 4;
  to.as<int64_t>()[1] = -1;
  const TensorPtr value = share(std::move(to));
  const OnnxImport import = import_onnx(
      *text.model(), all_ops(), {.name = "main", .values = {{"to", value}, {"z", value}}, .shapes = {}});
  EXPECT_THAT(import.specialised, testing::ElementsAre("to"));
  EXPECT_EQ(text_of(import.graph.type(import.graph.outputs()[0].value)), "f32[4, 3]");
}

TEST(Onnx, TakesTheBranchThatAConstantConditionNames) {
  for (const bool condition : {true, false}) {
    OnnxText then, other, text;
    then.output("t").node("Neg", {"x"}, {"t"});
    other.output("e").node("Abs", {"x"}, {"e"});
    std::string node;
    protozero::pbf_writer w(node);
    w.add_string(1, "c");
    w.add_string(2, "y");
    w.add_string(4, "If");
    for (const auto& [name, graph] : {std::pair{"then_branch", &then}, {"else_branch", &other}}) {
      std::string attribute;
      protozero::pbf_writer a(attribute);
      a.add_string(1, name);
      a.add_message(6, graph->graph());
      a.add_int32(20, 5);
      w.add_message(5, attribute);
    }
    text.input("x", {3}).output("y").ints("one", {}, {1}).ints("k", {}, {condition ? 1 : 0});
    text.node("Equal", {"one", "k"}, {"c"}).raw(1, node);
    const OnnxImport import = import_onnx(*text.model(), all_ops());
    EXPECT_TRUE(import.graph.is(import.graph.outputs()[0].value, condition ? "neg" : "abs"));
  }
}

TEST(Onnx, NamesAllOperatorsThatItLacksAtOnce) {
  OnnxText text;
  text.input("x", {3})
      .output("y")
      .node("Foo", {"x"}, {"a"})
      .node("Bar", {"a"}, {"b"})
      .node("Foo", {"b"}, {"y"});
  EXPECT_EQ(refusal(text),
            "model.onnx: operators that are not supported: Bar in 'Bar_b'; Foo in 'Foo_a', 'Foo_y'");
}

TEST(Onnx, RefusesCyclesAndWhatNobodyMakes) {
  OnnxText cycle;
  cycle.input("x", {3}).output("y").node("Add", {"x", "y"}, {"z"}).node("Neg", {"z"}, {"y"});
  EXPECT_EQ(refusal(cycle),
            "model.onnx: node 'Add_z' (Add): reads 'y' before it is made: the nodes are out of order or form "
            "a cycle");
  OnnxText missing;
  missing.input("x", {3}).output("y").node("Add", {"x", "w"}, {"y"});
  EXPECT_EQ(refusal(missing),
            "model.onnx: node 'Add_y' (Add): reads 'w', which no input, initializer or node gives");
  OnnxText twice;
  twice.input("x", {3}).output("y").node("Neg", {"x"}, {"y"}).node("Abs", {"x"}, {"y"});
  EXPECT_EQ(refusal(twice), "model.onnx: node 'Abs_y' (Abs): makes 'y', which is there already");
  OnnxText output;
  output.input("x", {3}).output("y");
  EXPECT_EQ(refusal(output), "model.onnx: output 'y' is made by no node");
}

TEST(Onnx, RefusesTypesAndDimsThatDoNotFit) {
  OnnxText types;
  types.input("x", {3}).input("k", {3}, 7).output("y").node("Add", {"x", "k"}, {"y"});
  EXPECT_EQ(
      refusal(types),
      "model.onnx: node 'Add_y' (Add): [add] operands must have one type, got f32[3] and i64[3] (in Add_y)");
  OnnxText dims;
  dims.input("a", {2, 3}).input("b", {4, 5}).output("y").node("MatMul", {"a", "b"}, {"y"});
  EXPECT_EQ(refusal(dims),
            "model.onnx: node 'MatMul_y' (MatMul): [matmul] inner dims differ: lhs f32[2, 3], rhs f32[4, 5] "
            "(in MatMul_y)");
  OnnxText text;
  text.input("s", {3}, 8).output("y").node("Identity", {"s"}, {"y"});
  EXPECT_EQ(refusal(text), "model.onnx: 's': elements of type STRING are not supported");
  OnnxText negative;
  negative.input("x", {3}).output("y").ints("s", {1}, {-7}).node("Expand", {"x", "s"}, {"y"});
  EXPECT_EQ(refusal(negative), "model.onnx: node 'Expand_y' (Expand): the shape [-7] has a negative dim");
}

TEST(Onnx, RefusesHugeDimsBeforeItAllocates) {
  OnnxText tensor;
  tensor.output("y").ints("w", {INT64_MAX, 8}, {1}).node("Neg", {"w"}, {"y"});
  EXPECT_EQ(refusal(tensor), "model.onnx: tensor 'w' of dims [9223372036854775807, 8] is too large");
  OnnxText elements;
  elements.output("y").ints("w", {1 << 30}, {1}).node("Neg", {"w"}, {"y"});
  EXPECT_EQ(refusal(elements),
            "model.onnx: tensor 'w' of dims [1073741824] needs 1073741824 elements, the file has 1");
  OnnxText product;
  product.input("x", {1})
      .output("y")
      .ints("s", {3}, {INT64_MAX, INT64_MAX, 2})
      .node("Expand", {"x", "s"}, {"e"});
  product.node("Size", {"e"}, {"y"});
  EXPECT_NE(refusal(product), "");
}

TEST(Onnx, RefusesEveryCutOfAModel) {
  OnnxText text;
  text.input("x", {-1, 3}).output("y").floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  text.node("MatMul", {"x", "w"}, {"h"}).node("Softmax", {"h"}, {"y"}, {{"axis", -1}});
  const std::string whole = text.bytes();
  ASSERT_NO_THROW(import_onnx(*parse_onnx(whole, "model.onnx"), all_ops()));
  for (size_t n = 0; n < whole.size(); ++n) {
    try {
      import_onnx(*parse_onnx(whole.substr(0, n), "model.onnx"), all_ops());
      ADD_FAILURE() << "accepted the first " << n << " of " << whole.size() << " bytes";
    } catch (const Error& e) {
      EXPECT_NE(e.kind(), ErrorKind::bug) << e.what();
      EXPECT_THAT(e.what(), testing::StartsWith("model.onnx: "));
    }
  }
}

TEST(Onnx, SurvivesEveryFlippedByte) {
  OnnxText text;
  text.input("x", {-1, 3}).output("y").floats("w", {3, 2}, {1, 2, 3, 4, 5, 6}).ints("k", {1}, {2});
  text.node("MatMul", {"x", "w"}, {"h"}).node("Softmax", {"h"}, {"s"}, {{"axis", -1}});
  text.node("TopK", {"s", "k"}, {"y", "at"}, {{"axis", -1}});
  const std::string whole = text.bytes();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int mask : {1, 0x80, 0xFF}) {
      std::string bad = whole;
      bad[at] = static_cast<char>(bad[at] ^ mask);
      try {
        import_onnx(*parse_onnx(bad, "model.onnx"), all_ops());
      } catch (const Error& e) {
        EXPECT_NE(e.kind(), ErrorKind::bug) << e.what();
      }
    }
  }
}

TEST(Onnx, RefusesOtherOpsetsAndNoGraph) {
  OnnxText text(29);
  text.input("x", {3}).output("y").node("Neg", {"x"}, {"y"});
  EXPECT_EQ(refusal(text), "model.onnx: opset 29 of ONNX is not supported; 7 to 28 are");
  try {
    parse_onnx("", "empty.onnx");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "empty.onnx: holds no graph, no ONNX model");
  }
}

TEST(OnnxTensor, LiesInAFileBesideTheModel) {
  const TempFolder folder;
  const float values[] = {1, 2, 3, 4};
  write_file(folder.file("w.bin"), std::string_view(reinterpret_cast<const char*>(values), sizeof values));
  OnnxTensor t;
  t.name = "w";
  t.type = 1;
  t.dims = {2};
  t.external = true;
  t.external_data = {{"location", "w.bin"}, {"offset", "8"}, {"length", "8"}};
  const Tensor got = tensor_of_onnx(t, folder.path());
  EXPECT_EQ(got.at(0), 3);
  EXPECT_EQ(got.at(1), 4);
  const auto message = [&](const std::string& key, const std::string& value) -> std::string {
    OnnxTensor bad = t;
    bad.external_data[key] = value;
    try {
      tensor_of_onnx(bad, folder.path());
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message("offset", "12"), HasSubstr("tensor 'w' wants 8 bytes from 12 on, "));
  EXPECT_THAT(message("offset", "-1"), HasSubstr("external data has offset '-1'"));
  EXPECT_THAT(message("length", "4"), HasSubstr("wants 8 bytes"));
  EXPECT_THAT(message("location", "../w.bin"), HasSubstr("outside the model's folder"));
  EXPECT_THAT(message("location", "/etc/passwd"), HasSubstr("outside the model's folder"));
  EXPECT_THAT(message("location", "none.bin"), HasSubstr("cannot read"));
}

}  // namespace
}  // namespace floe
