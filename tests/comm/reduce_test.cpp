#include "comm/reduce.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "base/error.h"

namespace trine {
namespace {

template <typename T>
T reduce_one(ReduceOp op, std::vector<T> values) {
  std::vector<const void*> contributions;
  for (const T& value : values) contributions.push_back(&value);
  T out;
  reduce(op, kDTypeOf<T>, contributions, &out, 1);
  return out;
}

TEST(Reduce, RoundsOnce) {
  // 1 + 2^-8 is a tie that rounds to 1 in bf16; both halves together are one unit.
  const BFloat16 half = to_bf16(0x1p-8f);
  EXPECT_EQ(to_float(reduce_one<BFloat16>(ReduceOp::kSum, {to_bf16(1), half, half})), 1 + 0x1p-7f);
}

TEST(Reduce, AddsInOrder) {
  EXPECT_EQ(reduce_one<float>(ReduceOp::kSum, {1e8f, -1e8f, 1.f}), 1.f);
  EXPECT_EQ(reduce_one<float>(ReduceOp::kSum, {1.f, 1e8f, -1e8f}), 0.f);
}

TEST(Reduce, IntegersAreExact) {
  const int64_t big = (int64_t{1} << 53) + 1;  // not an f64
  EXPECT_EQ(reduce_one<int64_t>(ReduceOp::kSum, {big, 2}), big + 2);
  EXPECT_EQ(reduce_one<int32_t>(ReduceOp::kSum, {16'777'217, -1}), 16'777'216);
  EXPECT_EQ(reduce_one<int64_t>(ReduceOp::kMax, {-3, -2}), -2);
}

TEST(Reduce, NothingHidesANaN) {
  for (const auto& values : std::vector<std::vector<float>>{{NAN, 1, 2}, {1, NAN, 2}, {1, 2, NAN}}) {
    EXPECT_TRUE(std::isnan(reduce_one(ReduceOp::kMax, values)));
    EXPECT_TRUE(std::isnan(reduce_one(ReduceOp::kSum, values)));
  }
}

TEST(Reduce, OneContributionIsCopiedWhateverItHolds) {
  EXPECT_TRUE(std::signbit(reduce_one<float>(ReduceOp::kSum, {-0.f})));
}

TEST(Reduce, BytesAreNotAdded) {
  const uint8_t x = 1;
  const void* contributions[] = {&x};
  uint8_t out = 0;
  EXPECT_THROW(reduce(ReduceOp::kSum, DType::kU8, contributions, &out, 1), CheckError);
}

}  // namespace
}  // namespace trine
