#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

using SimdAttention = SimdTest;
TRINE_INSTANTIATE_SIMD(SimdAttention);

struct Forward {
  Doubles o, lse;
};
struct Backward {
  Doubles dq, dk, dv;
};

int64_t queries_width(const AttentionShape& s) { return int64_t{s.heads} * s.head_dim; }
int64_t keys_width(const AttentionShape& s) { return int64_t{s.kv_heads} * s.head_dim; }

// visit(query row, key row, query column, key column, log-sum-exp index) of every query and
// visible key of every head
template <typename Visit>
void for_pairs(const AttentionShape& s, const Visit& visit) {
  for (int64_t b = 0; b < s.batch; ++b)
    for (int h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.seq; ++i)
        for (int64_t j = 0; j <= i; ++j)
          visit((b * s.seq + i) * queries_width(s) + h * s.head_dim,
                (b * s.seq + j) * keys_width(s) + int64_t{h / (s.heads / s.kv_heads)} * s.head_dim,
                (b * s.seq + i) * s.heads + h);
}

double score(const AttentionShape& s, const Doubles& q, const Doubles& k, int64_t qi, int64_t kj) {
  double sum = 0;
  for (int d = 0; d < s.head_dim; ++d) sum += q[qi + d] * k[kj + d];
  return sum / std::sqrt(s.head_dim);
}

Forward forward_reference(const AttentionShape& s, const Doubles& q, const Doubles& k, const Doubles& v) {
  const int64_t n = s.batch * s.seq;
  Forward r = {Doubles(n * queries_width(s)), Doubles(n * s.heads)};
  Doubles highest(r.lse.size(), -INFINITY);
  for_pairs(s,
            [&](int64_t qi, int64_t kj, int64_t l) { highest[l] = std::max(highest[l], score(s, q, k, qi, kj)); });
  for_pairs(s,
            [&](int64_t qi, int64_t kj, int64_t l) { r.lse[l] += std::exp(score(s, q, k, qi, kj) - highest[l]); });
  for (size_t l = 0; l < r.lse.size(); ++l) r.lse[l] = std::log(r.lse[l]) + highest[l];
  for_pairs(s, [&](int64_t qi, int64_t kj, int64_t l) {
    const double p = std::exp(score(s, q, k, qi, kj) - r.lse[l]);
    for (int d = 0; d < s.head_dim; ++d) r.o[qi + d] += p * v[kj + d];
  });
  return r;
}

Backward backward_reference(const AttentionShape& s, const Doubles& q, const Doubles& k, const Doubles& v,
                            const Forward& f, const Doubles& dout) {
  Backward r = {Doubles(q.size()), Doubles(k.size()), Doubles(v.size())};
  for_pairs(s, [&](int64_t qi, int64_t kj, int64_t l) {
    const double p = std::exp(score(s, q, k, qi, kj) - f.lse[l]);
    double dp = 0, mean = 0;
    for (int d = 0; d < s.head_dim; ++d) {
      dp += dout[qi + d] * v[kj + d];
      mean += dout[qi + d] * f.o[qi + d];
    }
    const double ds = p * (dp - mean) / std::sqrt(s.head_dim);
    for (int d = 0; d < s.head_dim; ++d) {
      r.dv[kj + d] += p * dout[qi + d];
      r.dq[qi + d] += ds * k[kj + d];
      r.dk[kj + d] += ds * q[qi + d];
    }
  });
  return r;
}

TEST(SimdReference, AttentionGradient) {
  const AttentionShape s = {2, 5, 4, 2, 3};
  const Doubles q = random_doubles(10 * 12, 1), k = random_doubles(10 * 6, 2), v = random_doubles(10 * 6, 3),
                dout = random_doubles(10 * 12, 4);
  const Backward g = backward_reference(s, q, k, v, forward_reference(s, q, k, v), dout);
  expect_gradient([&](const Doubles& x) { return forward_reference(s, x, k, v).o; }, q, dout, g.dq, "dq");
  expect_gradient([&](const Doubles& x) { return forward_reference(s, q, x, v).o; }, k, dout, g.dk, "dk");
  expect_gradient([&](const Doubles& x) { return forward_reference(s, q, k, x).o; }, v, dout, g.dv, "dv");
}

const std::vector<AttentionShape> kShapes = {{1, 1, 1, 1, 1},   {1, 1, 2, 1, 24},   {2, 3, 2, 2, 16},
                                             {1, 64, 1, 1, 64}, {1, 65, 2, 1, 32},  {2, 17, 4, 2, 24},
                                             {1, 63, 3, 1, 7},  {1, 130, 2, 2, 64}, {1, 200, 4, 2, 128},
                                             {3, 77, 6, 3, 64}, {1, 129, 1, 1, 100}};

// A scratch buffer on a cache line, with a sentinel behind it.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes), memory_(bytes + 128, 0x5a) {}
  void* data() { return memory_.data() + offset(); }
  bool intact() { return memory_[offset() + bytes_] == 0x5a && memory_[offset() + bytes_ + 1] == 0x5a; }

 private:
  size_t offset() const { return (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64; }
  size_t bytes_;
  std::vector<uint8_t> memory_;
};

struct Inputs {
  Matrix q, k, v, dout;
};
Inputs inputs_of(DType dtype, const AttentionShape& s, double scale, int64_t left) {
  const int64_t n = s.batch * s.seq, wq = queries_width(s), wk = keys_width(s);
  return {Matrix(dtype, n, wq, random_doubles(n * wq, 1, scale), left),
          Matrix(dtype, n, wk, random_doubles(n * wk, 2, scale), left + 1),
          Matrix(dtype, n, wk, random_doubles(n * wk, 3), left + 2),
          Matrix(dtype, n, wq, random_doubles(n * wq, 4), left + 3)};
}

TEST_P(SimdAttention, ForwardAndBackward) {
  // In bf16 pairs the probabilities are rounded too.
  const bool pairs = isa() == Isa::kAvx512Bf16 && dtype() == DType::kBF16;
  const double tolerance = pairs ? 6e-3 : dtype() == DType::kF32 ? 2e-6 : 1.2 * rounding(dtype());
  for (const AttentionShape& s : kShapes) {
    SCOPED_TRACE("seq " + std::to_string(s.seq) + " head_dim " + std::to_string(s.head_dim));
    const int64_t n = s.batch * s.seq;
    const Inputs in = inputs_of(dtype(), s, 2, 3);
    const Doubles q = in.q.values(), k = in.k.values(), v = in.v.values(), dout = in.dout.values();
    Matrix o(dtype(), n, queries_width(s), 5);
    std::vector<float> lse(n * s.heads + 1, 7);
    Scratch scratch(f().attention_forward_scratch_bytes(s, {2}));
    f().attention_forward(dtype(), s, in.q.in(), in.k.in(), in.v.in(), o.out(), lse.data(), scratch.data(), {2});
    EXPECT_TRUE(scratch.intact() && o.sentinels_intact());
    EXPECT_EQ(lse.back(), 7);
    lse.pop_back();
    Forward want = forward_reference(s, q, k, v);
    expect_close(doubles(lse), want.lse, 3e-6, 3e-6, "lse");
    expect_norm_close(o.values(), want.o, tolerance, "o");

    // Backward reads the rounded o: so does its reference.
    want.o = o.values();
    const Backward grad = backward_reference(s, q, k, v, want, dout);
    Matrix dq(dtype(), n, queries_width(s), 1), dk(dtype(), n, keys_width(s), 2), dv(dtype(), n, keys_width(s), 6);
    Scratch scratch2(f().attention_backward_scratch_bytes(s, {2}));
    f().attention_backward(dtype(), s, in.q.in(), in.k.in(), in.v.in(), o.in(), lse.data(), in.dout.in(), dq.out(),
                           dk.out(), dv.out(), scratch2.data(), {2});
    EXPECT_TRUE(scratch2.intact() && dq.sentinels_intact() && dk.sentinels_intact() && dv.sentinels_intact());
    expect_norm_close(dv.values(), grad.dv, tolerance, "dv");
    if (s.seq == 1) continue;  // one key: dq and dk are zero up to the rounding of o
    expect_norm_close(dq.values(), grad.dq, 2 * tolerance, "dq");
    expect_norm_close(dk.values(), grad.dk, 2 * tolerance, "dk");
  }
}

TEST_P(SimdAttention, LargeScoresDoNotOverflow) {
  const AttentionShape s = {1, 70, 1, 1, 64};
  const Inputs in = inputs_of(dtype(), s, 60, 3);
  Matrix o(dtype(), s.seq, 64);
  std::vector<float> lse(s.seq);
  Scratch scratch(f().attention_forward_scratch_bytes(s, {1}));
  f().attention_forward(dtype(), s, in.q.in(), in.k.in(), in.v.in(), o.out(), lse.data(), scratch.data(), {1});
  const Forward want = forward_reference(s, in.q.values(), in.k.values(), in.v.values());
  expect_norm_close(o.values(), want.o, dtype() == DType::kF32 ? 1e-3 : 1e-2, "o");
  expect_norm_close(doubles(lse), want.lse, 1e-6, "lse");
}

// Later tokens change nothing, not a bit; a NaN does not vanish in a maximum.
TEST_P(SimdAttention, IsCausalAndShowsNan) {
  const AttentionShape s = {1, 150, 2, 1, 32};
  const int64_t at = 70;
  Inputs in = inputs_of(dtype(), s, 2, 3);
  const auto run = [&] {
    Matrix o(dtype(), s.seq, 64);
    std::vector<float> lse(s.seq * 2);
    Scratch scratch(f().attention_forward_scratch_bytes(s, {1}));
    f().attention_forward(dtype(), s, in.q.in(), in.k.in(), in.v.in(), o.out(), lse.data(), scratch.data(), {1});
    return o;
  };
  const Matrix before = run();
  for (int64_t i = at; i < s.seq; ++i)
    for (int64_t j = 0; j < 32; ++j) {
      in.k.set(i, j, 9);
      in.v.set(i, j, -9);
    }
  const Matrix after = run();
  const size_t row_bytes = 64 * element_bytes();
  EXPECT_EQ(before.bits().substr(0, at * row_bytes), after.bits().substr(0, at * row_bytes));
  EXPECT_NE(before.bits().substr(at * row_bytes), after.bits().substr(at * row_bytes));
  in.q.set(at, 32 + 5, NAN);  // second head
  const Matrix bad = run();
  EXPECT_TRUE(std::isnan(bad.get(at, 32)) && std::isnan(bad.get(at, 63)));
  EXPECT_FALSE(std::isnan(bad.get(at, 31)) || std::isnan(bad.get(at + 1, 32)) || std::isnan(bad.get(at - 1, 32)));
}

// Threads, alignment, and what other sequences stand in the batch.
TEST_P(SimdAttention, ThreadsAlignmentAndBatchDoNotMatter) {
  const AttentionShape s = {3, 81, 4, 2, 40};
  const int64_t n = s.batch * s.seq, wq = queries_width(s), wk = keys_width(s);
  const Inputs values = inputs_of(dtype(), s, 2, 0);
  const auto run = [&](int threads, int left, int64_t first, int64_t batch) {
    const AttentionShape part = {batch, s.seq, s.heads, s.kv_heads, s.head_dim};
    const int64_t rows = batch * s.seq, skip = first * s.seq;
    const auto cut = [&](const Matrix& m, int64_t width, int64_t extra) {
      const Doubles all = m.values();
      return Matrix(dtype(), rows, width, Doubles(all.begin() + skip * width, all.begin() + (skip + rows) * width),
                    left + extra);
    };
    const Matrix q = cut(values.q, wq, 0), k = cut(values.k, wk, 1), v = cut(values.v, wk, 0),
                 dout = cut(values.dout, wq, 2);
    Matrix o(dtype(), rows, wq, left), dq(dtype(), rows, wq, left), dk(dtype(), rows, wk, left),
        dv(dtype(), rows, wk, left);
    std::vector<float> lse(rows * s.heads);
    Scratch one(f().attention_forward_scratch_bytes(part, {threads}));
    Scratch two(f().attention_backward_scratch_bytes(part, {threads}));
    f().attention_forward(dtype(), part, q.in(), k.in(), v.in(), o.out(), lse.data(), one.data(), {threads});
    f().attention_backward(dtype(), part, q.in(), k.in(), v.in(), o.in(), lse.data(), dout.in(), dq.out(), dk.out(),
                           dv.out(), two.data(), {threads});
    return std::vector<std::string>{o.bits(), dq.bits(), dk.bits(), dv.bits(), bits(lse)};
  };
  expect_invariant([&](int threads, int left) {
    std::string all;
    for (const std::string& part : run(threads, left, 0, s.batch)) all += part;
    return all;
  });
  const auto together = run(1, 0, 0, s.batch), alone = run(2, 5, 1, 1);
  for (size_t i = 0; i < together.size(); ++i)
    EXPECT_EQ(together[i].substr(together[i].size() / 3, alone[i].size()) == alone[i], true) << i;
  EXPECT_EQ(n, 243);
}

}  // namespace
}  // namespace trine::cpu::simd_test
