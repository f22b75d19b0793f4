#include "base/rng.h"

#include <cmath>
#include <gmock/gmock.h>
#include <vector>

#include "base/error.h"

namespace trine {
namespace {

using testing::ElementsAre;

// Known answers of Random123 1.14 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_THAT(philox({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  const uint32_t ones = 0xffffffffu;
  EXPECT_THAT(philox({ones, ones, ones, ones}, {ones, ones}),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
              ElementsAre(0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u));
}

// FNV-1a, 64 bits: the published values of "" and "a" and "foobar".
TEST(StreamOf, IsFnv1a) {
  EXPECT_EQ(stream_of(""), 0xcbf29ce484222325u);
  EXPECT_EQ(stream_of("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(stream_of("foobar"), 0x85944171f73967e8u);
}

std::vector<float> normals(int64_t begin, int64_t count, uint64_t seed = 1, uint64_t stream = 2) {
  std::vector<float> values(static_cast<size_t>(count));
  fill_normal(values.data(), begin, count, seed, stream, 1);
  return values;
}

TEST(FillNormal, DoesNotDependOnTheRange) {
  const std::vector<float> all = normals(0, 50);
  for (int64_t begin = 0; begin < 12; ++begin)
    for (int64_t count = 0; count < 12; ++count)
      EXPECT_EQ(normals(begin, count), std::vector<float>(all.begin() + begin, all.begin() + begin + count));
  EXPECT_EQ(normals((int64_t{1} << 40) + 3, 2)[1], normals((int64_t{1} << 40) + 4, 1)[0]) << "past 32 bits";
}

TEST(FillNormal, IsStandardNormal) {
  const std::vector<float> values = normals(0, 400'000);
  double moments[5] = {};
  int64_t within_one = 0;
  for (float value : values) {
    for (int power = 1; power <= 4; ++power)
      moments[power] += std::pow(static_cast<double>(value), power) / 400'000;
    within_one += std::abs(value) < 1;
  }
  EXPECT_NEAR(moments[1], 0, 0.006);
  EXPECT_NEAR(moments[2], 1, 0.01);
  EXPECT_NEAR(moments[3], 0, 0.02);
  EXPECT_NEAR(moments[4], 3, 0.06);
  EXPECT_NEAR(static_cast<double>(within_one) / 400'000, 0.682689, 0.003);
}

TEST(FillNormal, NeighboursStreamsAndSeedsAreIndependent) {
  const auto correlation = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < b.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum / static_cast<double>(b.size());
  };
  const std::vector<float> a = normals(0, 100'000);
  EXPECT_NEAR(correlation(a, normals(1, 99'999)), 0, 0.015);
  EXPECT_NEAR(correlation(a, normals(0, 100'000, 1, 3)), 0, 0.015);
  EXPECT_NEAR(correlation(a, normals(0, 100'000, 2, 2)), 0, 0.015);
}

TEST(FillNormal, ScalesByTheDeviation) {
  float scaled[5];
  fill_normal(scaled, 7, 5, 1, 2, 0.02f);
  const std::vector<float> plain = normals(7, 5);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(scaled[i], plain[i] * 0.02f);
}

void expect_permutation(int64_t size, uint64_t seed) {
  std::vector<bool> seen(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) {
    const int64_t image = permute(i, size, seed, 3);
    ASSERT_TRUE(0 <= image && image < size) << image << " of " << size;
    ASSERT_FALSE(seen[static_cast<size_t>(image)]) << image << " twice, of " << size;
    seen[static_cast<size_t>(image)] = true;
  }
}

TEST(Permute, IsAPermutation) {
  for (int64_t size = 1; size <= 100; ++size) expect_permutation(size, 5);
  for (int64_t size : {127, 128, 129, 1000, 4096, 4097}) expect_permutation(size, 6);
}

TEST(Permute, DependsOnSeedAndStreamAndIsNotTheIdentity) {
  int fixed = 0, same_seed = 0, same_stream = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    fixed += permute(i, 1000, 1, 1) == i;
    same_seed += permute(i, 1000, 1, 1) == permute(i, 1000, 2, 1);
    same_stream += permute(i, 1000, 1, 1) == permute(i, 1000, 1, 9);
  }
  EXPECT_LT(fixed, 10);
  EXPECT_LT(same_seed, 10);
  EXPECT_LT(same_stream, 10);
}

// Over many keys every element comes to every place about equally often.
TEST(Permute, IsAboutUniform) {
  constexpr int kSize = 10, kKeys = 5000;
  int count[kSize][kSize] = {};
  for (uint64_t key = 0; key < kKeys; ++key)
    for (int64_t i = 0; i < kSize; ++i) ++count[i][permute(i, kSize, key, 0)];
  for (auto& row : count)
    for (int times : row) EXPECT_NEAR(times, kKeys / kSize, 150);
}

TEST(Permute, RefusesAnIndexOutside) {
  EXPECT_THROW(permute(5, 5, 1, 1), CheckError);
  EXPECT_THROW(permute(-1, 5, 1, 1), CheckError);
}

TEST(RandomU64, UsesAllBits) {
  uint64_t any = 0, all = ~uint64_t{0};
  for (uint64_t i = 0; i < 100; ++i) any |= random_u64(1, 1, i), all &= random_u64(1, 1, i);
  EXPECT_EQ(any, ~uint64_t{0});
  EXPECT_EQ(all, 0u);
}

}  // namespace
}  // namespace trine
