// N tokens, D features, V vocabulary; B sequences of T tokens, H query and G kv heads of d numbers.
#include "tests/ops/op_cases.h"

#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "ops/attention.h"
#include "ops/batch.h"
#include "ops/cached_attention.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/optimizer.h"
#include "ops/repeat_heads.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "ops/take_row.h"
#include "tests/reference/ops.h"

namespace trine::reference {
namespace {

constexpr DType kF32 = DType::kF32;
using Earlier = std::vector<Tensor>;

InputCase normal(DType dtype, Shape shape, double stddev = 1, double mean = 0) {
  return {{dtype, std::move(shape)}, [=](const TensorType& type, uint64_t seed, const Earlier&) {
            return random_normal(type.shape, seed, stddev, mean);
          }};
}

InputCase integers(Shape shape, int64_t low, int64_t high) {
  return {{DType::kI32, std::move(shape)}, [=](const TensorType& type, uint64_t seed, const Earlier&) {
            return random_integers(type.shape, seed, low, high);
          }};
}

InputCase labels(int64_t tokens, int64_t vocab) {  // every fifth is ignored
  return {{DType::kI32, {tokens}}, [=](const TensorType& type, uint64_t seed, const Earlier&) {
            Tensor x = random_integers(type.shape, seed, 0, vocab);
            for (int64_t i = 3; i < tokens; i += 5) x(i) = -100;
            return x;
          }};
}

InputCase constant(DType dtype, double value) {
  return {{dtype, {1}},
          [=](const TensorType& type, uint64_t, const Earlier&) { return Tensor(type.shape, {value}); }};
}

InputCase squares(int64_t size) {  // a second moment: not negative
  return {{kF32, {size}}, [](const TensorType& type, uint64_t seed, const Earlier&) {
            Tensor x = random_normal(type.shape, seed, 0.01);
            for (double& value : x.data) value *= value;
            return x;
          }};
}

// Output `output` of a forward op on the first inputs.
template <typename OpType>
InputCase result_of(OpType op, Types types, size_t output, DType dtype, Shape shape) {
  return {{dtype, std::move(shape)}, [=](const TensorType&, uint64_t, const Earlier& earlier) {
            return run_op(op, types, Earlier(earlier.begin(), earlier.begin() + std::ssize(types)))[output];
          }};
}

template <typename OpType>
OpPtr make(OpType op) {
  return std::make_shared<const OpType>(std::move(op));
}

using Cases = std::vector<OpCase>;

void add_linear(Cases& cases, DType f, int64_t n, int64_t k, std::vector<int64_t> ms) {
  const int count = static_cast<int>(ms.size());
  std::string size = fmt::format("/n={},k={},m=", n, k);
  const InputCase x = normal(f, {n, k});
  std::vector<InputCase> w, dy, old;
  for (int64_t m : ms) {
    size += (size.ends_with('=') ? "" : "+") + std::to_string(m);
    w.push_back(normal(f, {m, k}, 1 / std::sqrt(static_cast<double>(k))));
    dy.push_back(normal(f, {n, m}));
    old.push_back(normal(kF32, {m, k}));
  }
  const auto join = [](std::vector<InputCase> a, const std::vector<InputCase>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  cases.push_back({.name = "linear" + size, .op = make(Linear(count)), .inputs = join({x}, w), .num_dy = count});
  cases.push_back({.name = "linear_dx" + size, .op = make(LinearGradInput(count)), .inputs = join(dy, w)});
  for (int microbatch : {0, 1})
    cases.push_back({.name = fmt::format("linear_dw{},microbatch={}", size, microbatch),
                     .op = make(LinearGradWeight(count)),
                     .inputs = join({x}, dy),
                     .states = old,
                     .microbatch = microbatch});
}

void add_embedding(Cases& cases, DType f, int64_t n, int64_t v, int64_t d) {
  const std::string size = fmt::format("/n={},v={},d={}", n, v, d);
  const InputCase ids = integers({n}, 0, v);
  cases.push_back(
      {.name = "embedding" + size, .op = make(Embedding()), .inputs = {ids, normal(f, {v, d})}, .num_dy = 1});
  for (int microbatch : {0, 1})
    cases.push_back({.name = fmt::format("embedding_grad{},microbatch={}", size, microbatch),
                     .op = make(EmbeddingGrad(v)),
                     .inputs = {ids, normal(f, {n, d})},
                     .states = {normal(kF32, {v, d})},
                     .microbatch = microbatch});
}

void add_rms_norm(Cases& cases, DType f, int64_t n, int64_t d) {
  const std::string size = fmt::format("/n={},d={}", n, d);
  const RmsNorm op(1e-5f);
  const InputCase x = normal(f, {n, d}, 2, 0.3), w = normal(f, {d}, 0.3, 1);
  cases.push_back(
      {.name = "rms_norm" + size, .op = make(op), .inputs = {x, w}, .num_dy = 1, .low_precision_slack = 2});
  cases.push_back({.name = "rms_norm_grad" + size,
                   .op = make(RmsNormGrad()),
                   .inputs = {x, w, result_of(op, {x.type, w.type}, 1, kF32, {n}), normal(f, {n, d})},
                   .low_precision_slack = 4});
  const InputCase residual = normal(f, {n, d});
  cases.push_back({.name = "add_rms_norm" + size,
                   .op = make(AddRmsNorm(op)),
                   .inputs = {x, residual, w},
                   .low_precision_slack = 4});
  cases.push_back({.name = "rms_norm_grad_add" + size,
                   .op = make(RmsNormGradAdd()),
                   .inputs = {x, w, result_of(op, {x.type, w.type}, 1, kF32, {n}), normal(f, {n, d}), residual},
                   .low_precision_slack = 5});
}

void add_elementwise(Cases& cases, DType f, int64_t n, int64_t d) {
  const std::string size = fmt::format("/n={},d={}", n, d);
  const InputCase a = normal(f, {n, d}), b = normal(f, {n, d}), dh = normal(f, {n, d});
  cases.push_back({.name = "add" + size, .op = make(Add()), .inputs = {a, b}, .num_dy = 1});
  cases.push_back({.name = "cast" + size, .op = make(Cast(f)), .inputs = {normal(kF32, {n, d})}, .num_dy = 1});
  if (f != kF32) cases.push_back({.name = "cast_up" + size, .op = make(Cast(kF32)), .inputs = {a}});
  const InputCase wide = normal(f, {n, d}, 4);  // both flat ends of silu
  cases.push_back(
      {.name = "swiglu" + size, .op = make(SwiGlu()), .inputs = {wide, b}, .num_dy = 1, .low_precision_slack = 2});
  cases.push_back(
      {.name = "swiglu_grad" + size, .op = make(SwiGluGrad()), .inputs = {wide, b, dh}, .low_precision_slack = 2});
  for (int microbatch : {0, 1})
    cases.push_back({.name = fmt::format("accumulate{},microbatch={}", size, microbatch),
                     .op = make(Accumulate(2)),
                     .inputs = {normal(kF32, {n, d})},
                     .states = {normal(kF32, {n, d})},
                     .microbatch = microbatch});
  cases.push_back({.name = "accumulate_adds" + size,
                   .op = make(Accumulate(1, false)),
                   .inputs = {normal(kF32, {n * d})},
                   .states = {normal(kF32, {n * d})}});
}

struct Heads {
  int64_t b, t, h, g, d;
};

std::shared_ptr<const std::vector<double>> rope_frequencies(int64_t head_dim) {
  auto frequencies = std::make_shared<std::vector<double>>();
  for (int64_t j = 0; j < head_dim / 2; ++j)
    frequencies->push_back(std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim)));
  return frequencies;
}

void add_attention(Cases& cases, DType f, Heads s) {
  const std::string size = fmt::format("/b={},t={},h={},g={},d={}", s.b, s.t, s.h, s.g, s.d);
  const int64_t n = s.b * s.t;
  const Shape q_shape{n, s.h * s.d}, k_shape{n, s.g * s.d};
  const InputCase q = normal(f, q_shape, 1.5), k = normal(f, k_shape, 1.5), v = normal(f, k_shape);
  const Attention op(s.t, s.d);
  cases.push_back(
      {.name = "attention" + size, .op = make(op), .inputs = {q, k, v}, .num_dy = 1, .low_precision_slack = 4});
  const Types forward = {q.type, k.type, v.type};
  cases.push_back({.name = "attention_grad" + size,
                   .op = make(AttentionGrad(s.t, s.d)),
                   .inputs = {q, k, v, result_of(op, forward, 0, f, q_shape),
                              result_of(op, forward, 1, kF32, {n, s.h}), normal(f, q_shape)},
                   .low_precision_slack = 8});
  Rope rope;
  rope.seq = s.t;
  rope.head_dim = s.d;
  rope.inverse_frequencies = rope_frequencies(s.d);
  cases.push_back({.name = "rope" + size, .op = make(rope), .inputs = {q}, .num_dy = 1});
  rope.inverse = true;
  cases.push_back({.name = "rope_grad" + size, .op = make(rope), .inputs = {q}});
}

// t tokens at `position` of a sequence of at most max_seq: what generation runs.
void add_cached_attention(Cases& cases, DType f, Heads s, int64_t position, int64_t max_seq) {
  const std::string size = fmt::format("/t={},h={},g={},d={},position={}", s.t, s.h, s.g, s.d, position);
  const InputCase q = normal(f, {s.t, s.h * s.d}, 1.5), k = normal(f, {s.t, s.g * s.d}, 1.5),
                  v = normal(f, {s.t, s.g * s.d}), at = constant(DType::kI32, static_cast<double>(position));
  const InputCase keys = normal(f, {max_seq, s.g * s.d}, 1.5), values = normal(f, {max_seq, s.g * s.d});
  cases.push_back({.name = "cached_attention" + size,
                   .op = make(CachedAttention(max_seq, s.d)),
                   .inputs = {q, k, v, at},
                   .states = {keys, values},
                   .low_precision_slack = 4});
  RopeAt rope;
  rope.max_seq = max_seq;
  rope.head_dim = s.d;
  rope.inverse_frequencies = rope_frequencies(s.d);
  cases.push_back({.name = "rope_at" + size, .op = make(rope), .inputs = {q, at}});
  cases.push_back({.name = "take_row" + size,
                   .op = make(TakeRow()),
                   .inputs = {q, constant(DType::kI32, static_cast<double>(s.t / 2))}});
}

void add_repeat_heads(Cases& cases, DType f, int64_t n, int64_t g, int64_t copies, int64_t d) {
  const std::string size = fmt::format("/n={},g={},copies={},d={}", n, g, copies, d);
  cases.push_back({.name = "repeat_heads" + size,
                   .op = make(RepeatHeads(d, copies)),
                   .inputs = {normal(f, {n, g * d})},
                   .num_dy = 1});
  cases.push_back({.name = "repeat_heads_grad" + size,
                   .op = make(RepeatHeadsGrad(d, copies)),
                   .inputs = {normal(f, {n, g * copies * d})}});
}

void add_loss(Cases& cases, DType f, int64_t n, int64_t v, int64_t parts) {
  const std::string size = fmt::format("/n={},v={},parts={}", n, v, parts);
  const InputCase x = normal(f, {n, v}, 3), target = labels(n, v);
  if (parts == 1) {
    const VocabStats op;
    cases.push_back({.name = "vocab_stats" + size, .op = make(op), .inputs = {x, target}});
    cases.push_back({.name = "vocab_stats_grad" + size,
                     .op = make(VocabStatsGrad()),
                     .inputs = {x, target, result_of(op, {x.type, target.type}, 0, kF32, {1, n, 3}),
                                normal(kF32, {1, n, 3}, 0.1)},
                     .low_precision_slack = 2});
  }
  const InputCase stats{{kF32, {parts, n, 3}}, [](const TensorType& type, uint64_t seed, const Earlier&) {
                          Tensor y = random_normal(type.shape, seed, 2);
                          for (int64_t row = 0; row < y.rows(); ++row) y(row, 1) = 1 + std::abs(y(row, 1));
                          return y;
                        }};
  cases.push_back({.name = "cross_entropy" + size, .op = make(CrossEntropy()), .inputs = {stats, target}});
  cases.push_back({.name = "cross_entropy_grad" + size,
                   .op = make(CrossEntropyGrad()),
                   .inputs = {stats, target, constant(kF32, 0.37)}});
}

void add_step(Cases& cases, DType f, int64_t e) {
  const std::string size = fmt::format("/e={}", e);
  AdamW op;
  op.weight_decay = 0.1f;
  op.compute_dtype = f;
  for (int apply : {0, 1}) {
    cases.push_back({.name = fmt::format("adamw{},apply={}", size, apply),
                     .op = make(op),
                     .inputs = {normal(kF32, {e}), constant(kF32, 1e-3), constant(kF32, 0.5),
                                constant(DType::kI32, apply), constant(DType::kI32, 3)},
                     .states = {normal(kF32, {e}), normal(kF32, {e}, 0.01), squares(e), normal(f, {e})}});
  }
  cases.push_back({.name = "count_valid" + size,
                   .op = make(CountValid()),
                   .inputs = {labels(e, 50)},
                   .states = {constant(DType::kI64, 9)}});
  if (e == 1)
    cases.push_back(
        {.name = "clear" + size, .op = make(Clear({kF32, {1}})), .inputs = {}, .states = {constant(kF32, 9)}});
  cases.push_back({.name = "take_microbatch" + size,
                   .op = make(TakeMicrobatch(e)),
                   .inputs = {integers({3 * e}, 0, 1000)},
                   .microbatch = 2});
  cases.push_back({.name = "loss_seed" + size,
                   .op = make(LossSeed()),
                   .inputs = {constant(kF32, 1024), constant(DType::kI64, e)}});
}

std::vector<Tensor> make_all(const std::vector<InputCase>& list, uint64_t seed) {
  std::vector<Tensor> values;
  for (const InputCase& input : list)
    values.push_back(rounded(input.make(input.type, seed + values.size(), values), input.type.dtype));
  return values;
}

}  // namespace

std::vector<OpCase> op_cases(DType compute) {
  Cases cases;
  add_linear(cases, compute, 1, 1, {1});
  add_linear(cases, compute, 1, 67, {33});
  add_linear(cases, compute, 1, 200, {20, 9, 8});
  add_linear(cases, compute, 7, 5, {3});
  add_linear(cases, compute, 33, 67, {20, 9});
  add_linear(cases, compute, 17, 31, {24, 8, 8});
  add_linear(cases, compute, 128, 96, {64, 32, 32});
  add_linear(cases, compute, 2, 1030, {1030});  // more than a block of the CPU's products in every dim
  add_linear(cases, compute, 1030, 3, {5});
  add_embedding(cases, compute, 1, 1, 1);
  add_embedding(cases, compute, 13, 7, 5);
  add_embedding(cases, compute, 50, 11, 67);
  add_embedding(cases, compute, 600, 7, 5);  // more tokens than a block of CUDA compares at once
  for (auto [n, d] : {std::pair<int64_t, int64_t>{1, 1}, {1, 33}, {9, 2}, {7, 5}, {65, 127}, {130, 64}}) {
    add_rms_norm(cases, compute, n, d);
    add_elementwise(cases, compute, n, d);
  }
  add_rms_norm(cases, compute, 300, 200);  // several blocks of rows, summed into one weight gradient
  add_rms_norm(cases, compute, 601, 264);  // on CUDA: several rows, and several warps, in a block
  add_rms_norm(cases, compute, 3, 10250);  // and a row too long for sums in shared memory
  for (Heads heads : {Heads{1, 1, 1, 1, 2},
                      {1, 5, 1, 1, 2},
                      {2, 7, 4, 2, 6},
                      {1, 33, 6, 2, 16},
                      {2, 70, 3, 1, 8},
                      {1, 130, 2, 2, 32},
                      {1, 64, 8, 4, 24},
                      {1, 37, 2, 1, 128},
                      {1, 18, 1, 1, 256}})
    add_attention(cases, compute, heads);
  add_cached_attention(cases, compute, {1, 1, 1, 1, 2}, 0, 1);  // decoding
  add_cached_attention(cases, compute, {1, 1, 6, 2, 24}, 77, 100);
  add_cached_attention(cases, compute, {1, 1, 4, 4, 64}, 129, 130);
  add_cached_attention(cases, compute, {1, 5, 4, 1, 6}, 30, 50);   // few tokens, anywhere
  add_cached_attention(cases, compute, {1, 33, 6, 2, 16}, 0, 40);  // a prefill in one block, and in several
  add_cached_attention(cases, compute, {1, 64, 4, 2, 24}, 128, 192);
  add_cached_attention(cases, compute, {1, 100, 3, 1, 8}, 64, 170);
  add_cached_attention(cases, compute, {1, 20, 2, 2, 16}, 17, 40);
  add_repeat_heads(cases, compute, 1, 1, 1, 1);
  add_repeat_heads(cases, compute, 1, 1, 2, 33);
  add_repeat_heads(cases, compute, 7, 2, 3, 5);
  add_repeat_heads(cases, compute, 130, 3, 4, 16);
  for (auto [n, v] : {std::pair<int64_t, int64_t>{1, 1}, {1, 7}, {9, 5}, {33, 131}, {66, 259}})
    for (int64_t parts : {1, 3}) add_loss(cases, compute, n, v, parts);
  for (int64_t e : {1, 7, 256, 1000}) add_step(cases, compute, e);
  return cases;
}

std::vector<OpCase> speed_cases(DType compute) {
  Cases cases;
  constexpr int64_t n = 1024, d = 768;
  add_linear(cases, compute, n, d, {768, 256, 256});
  add_linear(cases, compute, n, d, {2048, 2048});
  add_linear(cases, compute, n, 2048, {768});
  add_embedding(cases, compute, n, 32000, d);
  add_rms_norm(cases, compute, n, d);
  add_elementwise(cases, compute, n, 2048);
  add_attention(cases, compute, {4, 256, 12, 4, 64});
  add_linear(cases, compute, 1, d, {768, 256, 256});  // decoding
  add_linear(cases, compute, 1, d, {32000});
  add_cached_attention(cases, compute, {1, 1, 12, 4, 64}, 1023, 1024);
  add_repeat_heads(cases, compute, n, 4, 4, 64);
  add_loss(cases, compute, n, 32000, 1);
  add_step(cases, compute, 4 << 20);
  std::erase_if(cases, [](const OpCase& c) { return c.name.ends_with("apply=0"); });
  return cases;
}

Types input_types(const OpCase& op_case) {
  Types types;
  for (const InputCase& input : op_case.inputs) types.push_back(input.type);
  return types;
}

std::vector<Tensor> make_inputs(const OpCase& op_case) { return make_all(op_case.inputs, stream_of(op_case.name)); }
std::vector<Tensor> make_states(const OpCase& op_case) {
  return make_all(op_case.states, stream_of(op_case.name) + 100);
}

Tensor rounded(Tensor x, DType dtype) {
  for (double& value : x.data) {
    const float f = static_cast<float>(value);
    if (dtype == DType::kF32) value = f;
    if (dtype == DType::kBF16) value = to_float(to_bf16(f));
    if (dtype == DType::kF16) value = to_float(to_f16(f));
  }
  return x;
}

}  // namespace trine::reference
