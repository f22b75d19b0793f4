// cuBLASLt's products for the shapes of a 1.2B and an 8B LLaMA: its first proposal, and the best of several.
#include <algorithm>
#include <array>

#include "bench/gpu_probe/probe.h"
#include "kernels/cuda/product.h"

namespace trine::probe {
namespace {

constexpr int64_t kTokens = 8192;
constexpr int kCandidates = 8;

struct Weight {
  const char* name;
  int64_t out, in;
};
constexpr std::array kWeights = {
    Weight{"1.2B q or o", 2048, 2048},    Weight{"1.2B k or v", 512, 2048}, Weight{"1.2B gate or up", 8192, 2048},
    Weight{"1.2B down", 2048, 8192},      Weight{"8B q or o", 4096, 4096},  Weight{"8B k or v", 1024, 4096},
    Weight{"8B gate or up", 14336, 4096}, Weight{"8B down", 4096, 14336},   Weight{"1.2B head", 128256, 2048},
};

// Of y [T, O] = x [T, I] w [O, I]^T: y, dx = dy w, dw = dy^T x (f32, added to).
struct Problem {
  const char* name;
  cuda::MatrixLayout a, b, c;
  bool accumulate;
};

std::array<Problem, 3> problems_of(const Weight& weight) {
  const auto matrix = [](int64_t rows, int64_t columns, DType dtype = DType::kBF16) {
    return cuda::MatrixLayout{dtype, rows, columns, columns, false};
  };
  const auto transposed = [](int64_t rows, int64_t columns) {
    return cuda::MatrixLayout{DType::kBF16, columns, rows, columns, true};
  };
  const int64_t out = weight.out, in = weight.in;
  return {Problem{"y", matrix(kTokens, in), transposed(out, in), matrix(kTokens, out), false},
          Problem{"dx", matrix(kTokens, out), matrix(out, in), matrix(kTokens, in), false},
          Problem{"dw", transposed(kTokens, out), matrix(kTokens, in), matrix(out, in, DType::kF32), true}};
}

std::string measure(const cuda::ContextPtr& context, const Problem& p) {
  const cuda::LtProduct product(context, p.a, p.b, p.c);
  const auto operand = [](const cuda::MatrixLayout& m) { return random_bf16(m.rows * m.columns); };
  const cuda::DeviceBuffer a = operand(p.a), b = operand(p.b),
                           c(p.c.rows * p.c.columns * static_cast<int64_t>(size_bytes(p.c.dtype))),
                           workspace(cuda::LtProduct::kWorkspace);
  TRINE_CUDA(cudaMemset(c.data(), 0, static_cast<size_t>(c.size())));
  const auto candidates = product.candidates(product.alignments_of(a.data(), b.data(), c.data()), kCandidates);
  if (candidates.empty()) throw ConfigError("cuBLASLt has no algorithm");
  std::vector<double> seconds;
  for (const cublasLtMatmulAlgo_t& algorithm : candidates)
    seconds.push_back(seconds_of(context->compute(), [&] {
      product.run_by(algorithm, a.data(), b.data(), c.data(), p.accumulate, workspace.data());
    }));
  const auto best = std::min_element(seconds.begin(), seconds.end());
  const double flops = 2.0 * static_cast<double>(p.a.rows * p.a.columns) * static_cast<double>(p.b.columns);
  return fmt::format("first {:.3f} ms ({:.0f} TFLOP/s), best {:.3f} ms ({:.0f} TFLOP/s), number {} of {}",
                     seconds[0] * 1e3, flops / seconds[0] * 1e-12, *best * 1e3, flops / *best * 1e-12,
                     best - seconds.begin() + 1, candidates.size());
}

}  // namespace

void probe_products(Report& report, const cuda::ContextPtr& context) {
  if (!context) {
    report.row("cuBLASLt", [] { return place_of(fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR)); });
    return;
  }
  for (const Weight& weight : kWeights)
    for (const Problem& problem : problems_of(weight))
      report.row(fmt::format("product {}: {} [{}, {}], over {}", weight.name, problem.name, problem.c.rows,
                             problem.c.columns, problem.a.columns),
                 [&] { return measure(context, problem); });
}

}  // namespace trine::probe
