#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

using SimdVocab = SimdTest;
TRINE_INSTANTIATE_SIMD(SimdVocab);

// (max, sum of exp(x - max), logit of the label) of one row
Doubles stats_reference(const Doubles& x, int64_t label) {
  const double highest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double v : x) sum += std::exp(v - highest);
  const bool here = label >= 0 && label < static_cast<int64_t>(x.size());
  return {highest, sum, here ? x[label] : 0};
}

// Of d1 * sum(exp(x - max)) + d2 * x[label], the maximum held constant.
Doubles stats_grad_reference(const Doubles& x, double highest, double d1, double d2, int64_t label) {
  Doubles dx;
  for (double v : x) dx.push_back(d1 * std::exp(v - highest));
  if (label >= 0 && label < static_cast<int64_t>(x.size())) dx[label] += d2;
  return dx;
}

// The loss log(sum) + max - x[label] has d1 = 1 / sum and d2 = -1: its gradient must be softmax minus one-hot.
TEST(SimdReference, VocabStatsGradient) {
  const Doubles x = random_doubles(17, 1, 3);
  const auto loss = [](const Doubles& v) {
    const Doubles s = stats_reference(v, 4);
    return Doubles{std::log(s[1]) + s[0] - s[2]};
  };
  const Doubles s = stats_reference(x, 4);
  expect_gradient(loss, x, {1}, stats_grad_reference(x, s[0], 1 / s[1], -1, 4), "dlogits");
}

struct Case {
  int64_t n, v, first;
};
const std::vector<Case> kCases = {{1, 1, 0}, {3, 5, 2}, {2, 48, 0}, {9, 259, 100}, {3, 5001, 7}};

std::vector<int32_t> labels_of(const Case& c) {
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < c.n; ++i) labels.push_back(static_cast<int32_t>(c.first + i * 31 % c.v));
  if (c.n > 1) labels[1] = -100;
  if (c.n > 2) labels[2] = static_cast<int32_t>(c.first + c.v);
  if (c.n > 3) labels[3] = static_cast<int32_t>(c.first + c.v - 1);
  return labels;
}

TEST_P(SimdVocab, StatsAndGradient) {
  for (const Case& c : kCases) {
    const Matrix logits(dtype(), c.n, c.v, random_doubles(c.n * c.v, 1, 20));
    const std::vector<int32_t> labels = labels_of(c);
    std::vector<float> stats(3 * c.n + 1, 7), dstats = floats(random_doubles(3 * c.n, 2));
    f().vocab_stats(dtype(), c.n, c.v, logits.in(), labels.data(), c.first, stats.data(), {2});
    EXPECT_EQ(stats.back(), 7);
    Matrix dlogits(dtype(), c.n, c.v, 6), over = logits;
    for (int64_t i = 0; i < c.n; ++i) dstats[3 * i] = 0;
    if (c.n > 4) dstats[3 * 4 + 1] = dstats[3 * 4 + 2] = 0;
    f().vocab_stats_grad(dtype(), c.n, c.v, logits.in(), stats.data(), dstats.data(), labels.data(), c.first,
                         dlogits.out(), {2});
    EXPECT_TRUE(dlogits.sentinels_intact());
    const Doubles x = logits.values(), got = dlogits.values();
    for (int64_t i = 0; i < c.n; ++i) {
      const Doubles row(x.begin() + i * c.v, x.begin() + (i + 1) * c.v);
      const int64_t label = labels[i] < 0 ? -1 : labels[i] - c.first;
      const Doubles want = stats_reference(row, label);
      expect_close({stats[3 * i], stats[3 * i + 1], stats[3 * i + 2]}, want, 2e-6, 0, "stats");
      expect_close(Doubles(got.begin() + i * c.v, got.begin() + (i + 1) * c.v),
                   stats_grad_reference(row, want[0], dstats[3 * i + 1], dstats[3 * i + 2], label),
                   2 * rounding(dtype()), dtype() == DType::kF16 ? 0x1p-24 : 1e-9, "dlogits");
    }
    f().vocab_stats_grad(dtype(), c.n, c.v, over.in(), stats.data(), dstats.data(), labels.data(), c.first,
                         over.out(), {1});
    EXPECT_EQ(over.bits(), dlogits.bits());
  }
}

TEST_P(SimdVocab, NoGradientIsExactZeroEvenOfInfinities) {
  Matrix logits(dtype(), 1, 3, {INFINITY, NAN, 1});
  const float stats[3] = {INFINITY, NAN, 0}, dstats[3] = {0, 0, 0};
  const int32_t label = 1;
  f().vocab_stats_grad(dtype(), 1, 3, logits.in(), stats, dstats, &label, 0, logits.out(), {1});
  EXPECT_EQ(logits.bits(), std::string(3 * element_bytes(), '\0'));
}

TEST_P(SimdVocab, NanShows) {
  for (int64_t at : {0, 20, 4000}) {
    Matrix logits(dtype(), 1, 4001, random_doubles(4001, 1));
    logits.set(0, at, NAN);
    float stats[3];
    const int32_t label = 1;
    f().vocab_stats(dtype(), 1, 4001, logits.in(), &label, 0, stats, {1});
    EXPECT_TRUE(std::isnan(stats[1])) << at;
  }
}

TEST_P(SimdVocab, ThreadsAndAlignmentDoNotMatter) {
  const Case c = {23, 2311, 5};
  const Doubles x = random_doubles(c.n * c.v, 1, 10);
  const std::vector<int32_t> labels = labels_of(c);
  const std::vector<float> dstats = floats(random_doubles(3 * c.n, 2));
  expect_invariant([&](int threads, int left) {
    const Matrix logits(dtype(), c.n, c.v, x, left);
    Matrix dlogits(dtype(), c.n, c.v, left);
    std::vector<float> stats(3 * c.n);
    f().vocab_stats(dtype(), c.n, c.v, logits.in(), labels.data(), c.first, stats.data(), {threads});
    f().vocab_stats_grad(dtype(), c.n, c.v, logits.in(), stats.data(), dstats.data(), labels.data(), c.first,
                         dlogits.out(), {threads});
    return bits(stats) + dlogits.bits();
  });
}

}  // namespace
}  // namespace trine::cpu::simd_test
