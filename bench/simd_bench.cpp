// The vectorised kernels on one thread (TRINE_BENCH_THREADS for more): GFLOP/s of attention, GB/s of the rest.
//   build/bin/simd_bench [--benchmark_filter=...]
#include <algorithm>
#include <benchmark/benchmark.h>
#include <cstdlib>
#include <fmt/core.h>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cpu/simd/functions.h"

namespace trine::cpu {
namespace {

int threads() {
  const char* text = std::getenv("TRINE_BENCH_THREADS");
  return text == nullptr ? 1 : std::atoi(text);
}

// A buffer of T values in [-1, 1], on a cache line.
class Buffer {
 public:
  Buffer(const SimdFunctions& f, DType dtype, int64_t count)
      : memory_(count * (dtype == DType::kF32 ? 4 : 2) / 4 + 32) {
    std::mt19937 generator(1);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> values(count);
    for (float& value : values) value = uniform(generator);
    f.cast(DType::kF32, dtype, count, values.data(), data(), {1});
  }
  void* data() {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<void*>((at + 63) / 64 * 64);
  }
  float* floats() { return static_cast<float*>(data()); }
  Rows rows(int64_t stride) { return {data(), stride}; }
  ConstRows in(int64_t stride) { return {data(), stride}; }

 private:
  std::vector<float> memory_;
};

void rate(benchmark::State& state, const char* unit, double per_iteration) {
  state.counters[unit] = benchmark::Counter(per_iteration * static_cast<double>(state.iterations()) * 1e-9,
                                            benchmark::Counter::kIsRate);
}

void attention(benchmark::State& state, Isa isa, DType dtype, AttentionShape s, bool backward) {
  const SimdFunctions& f = simd_functions(isa);
  const Parallel parallel = {threads()};
  const int64_t n = s.batch * s.seq, wq = int64_t{s.heads} * s.head_dim, wk = int64_t{s.kv_heads} * s.head_dim;
  Buffer q(f, dtype, n * wq), k(f, dtype, n * wk), v(f, dtype, n * wk), o(f, dtype, n * wq), dout(f, dtype, n * wq);
  Buffer dq(f, dtype, n * wq), dk(f, dtype, n * wk), dv(f, dtype, n * wk), lse(f, DType::kF32, n * s.heads);
  const size_t bytes =
      std::max(f.attention_forward_scratch_bytes(s, parallel), f.attention_backward_scratch_bytes(s, parallel));
  Buffer scratch(f, DType::kF32, static_cast<int64_t>(bytes) / 4);
  f.attention_forward(dtype, s, q.in(wq), k.in(wk), v.in(wk), o.rows(wq), lse.floats(), scratch.data(), parallel);
  for (auto _ : state) {
    if (backward)
      f.attention_backward(dtype, s, q.in(wq), k.in(wk), v.in(wk), o.in(wq), lse.floats(), dout.in(wq), dq.rows(wq),
                           dk.rows(wk), dv.rows(wk), scratch.data(), parallel);
    else
      f.attention_forward(dtype, s, q.in(wq), k.in(wk), v.in(wk), o.rows(wq), lse.floats(), scratch.data(),
                          parallel);
  }
  // Half of the seq x seq pairs, 2 products forward and 5 backward.
  const double products = backward ? 5 : 2;
  rate(state, "GFLOP/s", products * static_cast<double>(n * wq) * static_cast<double>(s.seq + 1));
}

template <typename Call>
void memory_bound(const std::string& label, double bytes, Call call) {
  benchmark::RegisterBenchmark(label.c_str(), [bytes, call](benchmark::State& state) {
    for (auto _ : state) call();
    rate(state, "GB/s", bytes);
  });
}

// n tokens of hidden size d, ffn size f, vocabulary v; flat arrays of `flat` elements. One set serves all levels.
struct Buffers {
  static constexpr int64_t n = 1024, d = 768, ffn = 2048, v = 4096, flat = 1 << 22;
  explicit Buffers(const SimdFunctions& f, DType t)
      : x(f, t, n * d),
        y(f, t, n * d),
        w(f, t, d),
        gate(f, t, 2 * n * ffn),
        dgate(f, t, 2 * n * ffn),
        h(f, t, n * ffn),
        logits(f, t, n * v),
        dlogits(f, t, n * v),
        compute(f, t, flat),
        table(f, DType::kF32, v * d),
        master(f, DType::kF32, flat),
        m(f, DType::kF32, flat),
        moment(f, DType::kF32, flat),
        grad(f, DType::kF32, flat),
        small(f, DType::kF32, 64 * 1024),
        labels(n, 3),
        bins(kNormBins) {}
  Buffer x, y, w, gate, dgate, h, logits, dlogits, compute, table, master, m, moment, grad, small;
  std::vector<int32_t> labels;
  std::vector<int64_t> bins;
};

// Bytes are those that must move between memory and the core.
void register_memory_bound(const std::string& tail, const SimdFunctions* f, DType t, std::shared_ptr<Buffers> b) {
  constexpr int64_t n = Buffers::n, d = Buffers::d, ffn = Buffers::ffn, v = Buffers::v, flat = Buffers::flat;
  const Parallel p = {threads()};
  const int64_t size = t == DType::kF32 ? 4 : 2;
  const double e = static_cast<double>(size), nd = n * d, nf = n * ffn, nv = n * v;
  memory_bound("rms_norm" + tail, 2 * e * nd,
               [=] { f->rms_norm(t, n, d, 1e-5f, b->x.in(d), b->w.data(), b->y.rows(d), b->small.floats(), p); });
  memory_bound("rms_norm_grad" + tail, 3 * e * nd, [=] {
    float* small = b->small.floats();
    f->rms_norm_grad(t, n, d, b->x.in(d), b->w.data(), small, b->y.in(d), {}, b->y.rows(d), small + n, small + 2048,
                     p);
  });
  memory_bound("add" + tail, 3 * e * nd, [=] { f->add(t, n, d, b->x.in(d), b->y.in(d), b->y.rows(d), p); });
  memory_bound("rope" + tail, 2 * e * nd, [=] {
    const float* small = b->small.floats();
    f->rope(t, n, d / 64, 64, 256, b->x.in(d), small, small, false, b->y.rows(d), p);
  });
  memory_bound("swiglu" + tail, 3 * e * nf, [=] {
    const ConstRows up = {static_cast<char*>(b->gate.data()) + size * ffn, 2 * ffn};
    f->swiglu(t, n, ffn, b->gate.in(2 * ffn), up, b->h.rows(ffn), p);
  });
  memory_bound("swiglu_grad" + tail, 5 * e * nf, [=] {
    const ConstRows up = {static_cast<char*>(b->gate.data()) + size * ffn, 2 * ffn};
    const Rows dup = {static_cast<char*>(b->dgate.data()) + size * ffn, 2 * ffn};
    f->swiglu_grad(t, n, ffn, b->gate.in(2 * ffn), up, b->h.in(ffn), b->dgate.rows(2 * ffn), dup, p);
  });
  memory_bound("vocab_stats" + tail, e * nv,
               [=] { f->vocab_stats(t, n, v, b->logits.in(v), b->labels.data(), 0, b->small.floats(), p); });
  memory_bound("vocab_stats_grad" + tail, 2 * e * nv, [=] {
    const float* small = b->small.floats();
    f->vocab_stats_grad(t, n, v, b->logits.in(v), small, small, b->labels.data(), 0, b->dlogits.rows(v), p);
  });
  memory_bound("embedding_grad" + tail, (e + 8) * nd, [=] {
    f->embedding_grad(t, b->labels.data(), n, d, 0, v, b->x.in(d), b->table.floats(), false, p);
  });
  memory_bound("adamw" + tail, (28 + e) * flat, [=] {
    const AdamWStep step = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, 0.5f, 1};
    f->adamw(t, flat, step, b->master.floats(), b->m.floats(), b->moment.floats(), b->grad.floats(),
             b->compute.data(), p);
  });
  memory_bound("cast" + tail, (4 + e) * flat,
               [=] { f->cast(DType::kF32, t, flat, b->grad.data(), b->compute.data(), p); });
  if (t != DType::kF32) return;
  memory_bound("squared_norm" + tail, 4.0 * flat, [=] {
    std::fill(b->bins.begin(), b->bins.end(), 0);
    f->squared_norm_bins(flat, b->grad.floats(), b->bins.data(), p);
  });
  memory_bound("accumulate" + tail, 12.0 * flat,
               [=] { f->accumulate(flat, b->m.floats(), b->grad.floats(), false, p); });
}

void register_all() {
  const std::pair<const char*, AttentionShape> shapes[] = {
      {"bench-m", {4, 256, 12, 4, 64}}, {"bench-s", {8, 256, 8, 4, 32}}, {"long", {1, 2048, 4, 2, 128}}};
  for (DType t : {DType::kF32, DType::kBF16, DType::kF16}) {
    const auto buffers = std::make_shared<Buffers>(simd_functions(Isa::kPortable), t);
    for (Isa isa : available_isas()) {
      const std::string tail = fmt::format("/{}/{}", name(isa), trine::name(t));
      for (const auto& [label, shape] : shapes)
        for (bool backward : {false, true})
          benchmark::RegisterBenchmark(
              fmt::format("attention_{}/{}{}", backward ? "backward" : "forward", label, tail).c_str(),
              [=, s = shape](benchmark::State& state) { attention(state, isa, t, s, backward); });
      register_memory_bound(tail, &simd_functions(isa), t, buffers);
    }
  }
}

}  // namespace
}  // namespace trine::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  trine::cpu::register_all();
  benchmark::RunSpecifiedBenchmarks();
}
