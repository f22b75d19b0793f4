// Every kernel at the sizes of training, as GFLOP/s and GB/s by the op's own cost(),
// and the share of what this machine can do, measured before.
//   build/bin/op_bench [--benchmark_filter=linear.*bf16]        OMP_NUM_THREADS sets the threads
#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <iostream>
#include <memory>
#include <omp.h>
#include <string>

#include "bench/peaks.h"
#include "graph/builder.h"
#include "kernels/cpu/cpu_kernels.h"
#include "tests/kernels/operands.h"
#include "tests/ops/op_cases.h"

namespace trine {
namespace {

using namespace reference;

// A case with its operands in memory, the kernel made. Neighbours lie side by side, as in a planned graph.
class Prepared {
 public:
  explicit Prepared(const OpCase& c)
      : in_(input_types(c)), out_(infer_types(*c.op, in_, Mesh{})), operands_(c, in_, out_, Placing::kSideBySide) {
    const std::vector<Tensor> values = make_inputs(c), old = make_states(c);
    for (size_t i = 0; i < values.size(); ++i) store(operands_.inputs[i], values[i]);
    for (size_t i = 0; i < old.size(); ++i) store(operands_.outputs[out_.size() - old.size() + i], old[i]);
    const int threads = omp_get_max_threads();
    const int64_t workspace = c.op->workspace_bytes(in_, out_, Mesh{}, threads);
    workspace_ = std::make_unique<Buffer>(workspace);
    kernel_ = cpu::make_cpu_kernels(cpu::best_isa(), threads)
                  .make({*c.op, operands_.inputs, operands_.outputs, Mesh{}, {}, threads, workspace});
    cost_ = c.op->cost(in_, out_, Mesh{});
    call_ = {.inputs = operands_.inputs,
             .outputs = operands_.outputs,
             .workspace = workspace_->span(),
             .microbatch = c.microbatch,
             .first_write = c.microbatch == 0};
  }

  void run() const { kernel_(call_); }
  const Cost& cost() const { return cost_; }

 private:
  Types in_, out_;
  Operands operands_;
  std::unique_ptr<Buffer> workspace_;
  Kernel kernel_;
  Cost cost_;
  KernelCall call_;
};

void measure(benchmark::State& state, const OpCase& c, const Peaks& peaks) {
  const Prepared prepared(c);
  prepared.run();
  for (auto _ : state) prepared.run();
  using benchmark::Counter;
  const Cost& cost = prepared.cost();
  const double bytes = static_cast<double>(cost.bytes_read + cost.bytes_written);
  if (cost.flops > 0) state.counters["GFLOP/s"] = Counter(cost.flops * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] = Counter(bytes * 1e-9, Counter::kIsIterationInvariantRate);
  const double bound_s = std::max(cost.flops / peaks.flops, bytes / peaks.bytes);
  state.counters["% of roofline"] = Counter(100 * bound_s, Counter::kIsIterationInvariantRate);
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (trine::DType dtype : {trine::DType::kBF16, trine::DType::kF32, trine::DType::kF16}) {
    const auto peaks = trine::measure_peaks(dtype, omp_get_max_threads());
    std::cout << fmt::format("{}: peaks {:.0f} GFLOP/s, {:.1f} GB/s\n", name(dtype), peaks.flops * 1e-9,
                             peaks.bytes * 1e-9);
    for (const auto& c : trine::reference::speed_cases(dtype))
      benchmark::RegisterBenchmark((c.name + "/" + std::string(name(dtype))).c_str(),
                                   [c, peaks](benchmark::State& state) { trine::measure(state, c, peaks); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
}
