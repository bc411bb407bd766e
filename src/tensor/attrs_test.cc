#include "tensor/attrs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

TensorPtr floats(const std::vector<double>& values, DType type = DType::f32) {
  const Shape shape{static_cast<int64_t>(values.size())};
  return std::make_shared<const Tensor>(Tensor::from_doubles(type, shape, values));
}

TEST(Attrs, AreSortedByNameAndTheLastValueCounts) {
  Attrs attrs{{"eps", 1e-5}, {"axis", int64_t{1}}};
  attrs.set("axis", int64_t{2});
  attrs.set("causal", true);
  EXPECT_EQ(attrs.text(), "{axis = 2, causal = true, eps = 1e-05}");
  attrs.erase("causal");
  attrs.erase("causal");
  EXPECT_FALSE(attrs.has("causal"));
  EXPECT_EQ(attrs.all().size(), 2u);
  EXPECT_EQ(Attrs().text(), "");
}

TEST(Attrs, GiveTheirValuesOrWhatIsAskedForInstead) {
  const Attrs attrs{{"flag", true},          {"n", int64_t{-3}}, {"x", 0.5},
                    {"s", std::string("a")}, {"t", DType::bf16}, {"l", std::vector<int64_t>{1, 2}}};
  EXPECT_TRUE(attrs.flag("flag"));
  EXPECT_EQ(attrs.integer("n"), -3);
  EXPECT_EQ(attrs.number("x"), 0.5);
  EXPECT_EQ(attrs.text("s"), "a");
  EXPECT_EQ(attrs.dtype("t"), DType::bf16);
  EXPECT_EQ(attrs.integers("l"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(attrs.integer("none", 7), 7);
  EXPECT_EQ(attrs.number("none", 0.25), 0.25);
  EXPECT_FALSE(attrs.flag("none", false));
  EXPECT_EQ(attrs.text("none", "b"), "b");
}

TEST(Attrs, AMissingOrMistypedOneNamesItself) {
  const Attrs attrs{{"axis", int64_t{1}}};
  EXPECT_THAT(refusal(ErrorKind::bug, [&] { (void)attrs.number("eps"); }),
              HasSubstr("attribute 'eps' is missing in {axis = 1}"));
  EXPECT_THAT(refusal(ErrorKind::bug, [&] { (void)attrs.number("axis"); }),
              HasSubstr("attribute 'axis' = 1 is of another kind"));
  EXPECT_THAT(refusal(ErrorKind::bug, [&] { (void)attrs.number("axis", 0.5); }),
              HasSubstr("of another kind"));
}

TEST(Attrs, EqualityIsByContentAndNanEqualsNan) {
  const auto one = [](AttrValue value) { return Attrs{{"a", std::move(value)}}; };
  EXPECT_EQ(one(std::nan("")), one(std::nan("1")));
  EXPECT_FALSE(one(0.0) == one(-0.0));
  EXPECT_FALSE(one(1.0) == one(int64_t{1}));
  EXPECT_EQ(one(floats({1, 2})), one(floats({1, 2})));
  EXPECT_FALSE(one(floats({1, 2})) == one(floats({1, 3})));
  EXPECT_FALSE(one(floats({1, 2})) == one(floats({1, 2}, DType::f64)));
  EXPECT_EQ(one(floats({})), one(floats({})));
  EXPECT_FALSE(one(true) == Attrs{});
  Tape tape;
  tape.inputs = 1;
  Tape other = tape;
  other.inputs = 2;
  EXPECT_EQ(one(std::make_shared<const Tape>(tape)), one(std::make_shared<const Tape>(tape)));
  EXPECT_FALSE(one(std::make_shared<const Tape>(tape)) == one(std::make_shared<const Tape>(other)));
}

TEST(Attrs, EveryKindHasItsText) {
  EXPECT_EQ(text_of(AttrValue(false)), "false");
  EXPECT_EQ(text_of(AttrValue(int64_t{3})), "3");
  EXPECT_EQ(text_of(AttrValue(3.0)), "3.0");
  EXPECT_EQ(text_of(AttrValue(-INFINITY)), "-inf");
  EXPECT_EQ(text_of(AttrValue(DType::f16)), "f16");
  EXPECT_EQ(text_of(AttrValue(std::vector<int64_t>{1, 2})), "[1, 2]");
  EXPECT_EQ(text_of(AttrValue(Dims{Dim::symbol("B"), 512})), "<B, 512>");
  EXPECT_EQ(text_of(AttrValue(floats({1, -0.5}))), "tensor f32 [2] {1, -0.5}");
  EXPECT_EQ(text_of(AttrValue(floats({7, 8}, DType::i64))), "tensor i64 [2] {7, 8}");
  EXPECT_EQ(text_of(AttrValue(std::string("a\"b\\\n\x01\xc3\xa9"))), "\"a\\\"b\\\\\\n\\x01\xc3\xa9\"");
}

TEST(Attrs, BindTurnsDimsIntoNumbersAndLeavesTheRest) {
  const Attrs attrs{{"dims", Dims{Dim::symbol("B") * 2, 5}}, {"axis", int64_t{1}}};
  const Attrs bound = attrs.bind({{"B", 4}});
  EXPECT_EQ(bound.integers("dims"), (std::vector<int64_t>{8, 5}));
  EXPECT_EQ(bound.integer("axis"), 1);
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)attrs.bind({}); }), HasSubstr("needs a value for 'B'"));
}

}  // namespace
}  // namespace floe
