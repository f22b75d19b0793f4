// cuDNN's fused attention for the heads of LLaMAs: which plan it takes, how much workspace, how long.
#include <array>
#include <cudnn_version.h>

#include "bench/gpu_probe/probe.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/sdpa.h"

namespace trine::probe {
namespace {

constexpr int64_t kTokens = 8192, kWorkspace = int64_t{1} << 30;
constexpr int kHeads = 32, kKvHeads = 8;

struct Operands {
  cuda::DeviceBuffer q, k, v, o, d_o, dq, dk, dv, statistics, workspace;
};

Operands make_operands(const cuda::AttentionShape& s) {
  const int64_t of_queries = kTokens * s.heads * s.head_dim, of_keys = kTokens * s.kv_heads * s.head_dim;
  return {.q = random_bf16(of_queries),
          .k = random_bf16(of_keys),
          .v = random_bf16(of_keys),
          .o = random_bf16(of_queries),
          .d_o = random_bf16(of_queries),
          .dq = random_bf16(of_queries),
          .dk = random_bf16(of_keys),
          .dv = random_bf16(of_keys),
          .statistics = cuda::DeviceBuffer(kTokens * s.heads * 4),
          .workspace = cuda::DeviceBuffer(kWorkspace)};
}

// `flops`: of the causal half.
std::string measure(cudaStream_t stream, const cuda::Sdpa::Answer& answer, std::span<std::byte* const> operands,
                    std::byte* workspace, double flops) {
  if (!answer.graph) throw ConfigError("no plan: " + answer.why_not);
  const double seconds = seconds_of(stream, [&] { answer.graph->run(stream, operands, workspace); });
  return fmt::format("{:.3f} ms, {:.0f} TFLOP/s, workspace {:.1f} MiB, plan {}", seconds * 1e3,
                     flops / seconds * 1e-12, static_cast<double>(answer.graph->workspace_bytes()) / (1 << 20),
                     answer.graph->plan());
}

void probe_shape(Report& report, const cuda::CudaContext& context, cuda::Sdpa& fast, cuda::Sdpa& deterministic,
                 const cuda::AttentionShape& s) {
  const Operands m = make_operands(s);
  const double flops = 2.0 * static_cast<double>(s.batch * s.heads * s.seq * s.seq * s.head_dim);
  const int64_t of_queries = s.heads * s.head_dim, of_keys = s.kv_heads * s.head_dim;
  const std::string shape =
      fmt::format("{} heads of {} ({} of keys), {} x {}, bf16", s.heads, s.head_dim, s.kv_heads, s.batch, s.seq);
  report.row("attention, " + shape, [&] {
    const std::array strides{of_queries, of_keys, of_keys, of_queries};
    return measure(context.compute(), fast.forward(DType::kBF16, s, strides, kWorkspace),
                   std::array{m.q.data(), m.k.data(), m.v.data(), m.o.data(), m.statistics.data()},
                   m.workspace.data(), flops);
  });
  for (const auto& [sdpa, how] : {std::pair{&fast, "deterministic off"}, {&deterministic, "deterministic on"}})
    report.row(fmt::format("its backward, {}, {}", how, shape), [&, sdpa = sdpa] {
      const std::array strides{of_queries, of_keys, of_keys, of_queries, of_queries, of_queries, of_keys, of_keys};
      return measure(context.compute(), sdpa->backward(DType::kBF16, s, strides, kWorkspace),
                     std::array{m.q.data(), m.k.data(), m.v.data(), m.o.data(), m.statistics.data(), m.d_o.data(),
                                m.dq.data(), m.dk.data(), m.dv.data()},
                     m.workspace.data(), 2.5 * flops);
    });
}

}  // namespace

void probe_attention(Report& report, const cuda::ContextPtr& context) {
  if (!context) {
    report.row("cuDNN", [] { return place_of(fmt::format("libcudnn.so.{}", CUDNN_MAJOR)); });
    report.row("NVRTC", [] { return place_of(fmt::format("libnvrtc.so.{}", CUDART_VERSION / 1000)); });
    report.row("NVRTC's kernel of one line", [] {
      const cuda::Compiler compiler;
      return fmt::format("{} bytes for sm_90",
                         compiler.compile("extern \"C\" __global__ void f(float* x) { *x = 1; }", "sm_90"));
    });
    return;
  }
  // Of both kinds, because determinism is asked of the handle.
  std::unique_ptr<cuda::Sdpa> fast, deterministic;
  report.row("cuDNN", [&] {
    fast = std::make_unique<cuda::Sdpa>(false), deterministic = std::make_unique<cuda::Sdpa>(true);
    return place_of(fmt::format("libcudnn.so.{}", CUDNN_MAJOR));
  });
  if (!fast || !deterministic) return;
  for (const int head_dim : {64, 128})
    for (const int64_t seq : {2048, 4096})
      probe_shape(report, *context, *fast, *deterministic, {kTokens / seq, seq, kHeads, kKvHeads, head_dim});
}

}  // namespace trine::probe
