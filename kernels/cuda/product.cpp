// cuBLASLt stores matrices by columns: ours are its transposed ones. So C^T = B^T A^T is what it computes, with B
// as its first operand, and an operand that is not transposed here is taken as it lies.
#include "kernels/cuda/product.h"

#include <algorithm>
#include <limits>

#include "kernels/cuda/device/functions.h"
#include "kernels/cuda/index.h"
#include "kernels/cuda/product_choices.h"

namespace trine::cuda {
namespace {

cudaDataType_t library_type(DType dtype) {
  return dtype == DType::kBF16 ? CUDA_R_16BF : dtype == DType::kF16 ? CUDA_R_16F : CUDA_R_32F;
}

int64_t item_bytes(const MatrixLayout& m) { return static_cast<int64_t>(size_bytes(m.dtype)); }

std::shared_ptr<cublasLtMatrixLayoutOpaque_t> describe(const BlasLt& lt, const MatrixLayout& m) {
  const int64_t length = m.transposed ? m.rows : m.columns, count = m.transposed ? m.columns : m.rows;
  cublasLtMatrixLayout_t layout = nullptr;
  TRINE_CUDA(lt.MatrixLayoutCreate(&layout, library_type(m.dtype), static_cast<uint64_t>(length),
                                   static_cast<uint64_t>(count), std::max(m.stride, length)));
  return {layout, lt.MatrixLayoutDestroy};
}

std::shared_ptr<cublasLtMatmulDescOpaque_t> describe_product(const BlasLt& lt, bool a_transposed,
                                                             bool b_transposed) {
  cublasLtMatmulDesc_t product = nullptr;
  TRINE_CUDA(lt.MatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  std::shared_ptr<cublasLtMatmulDescOpaque_t> owned(product, lt.MatmulDescDestroy);
  const auto set = [&](cublasLtMatmulDescAttributes_t which, bool transposed) {
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    TRINE_CUDA(lt.MatmulDescSetAttribute(product, which, &operation, sizeof operation));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, b_transposed);
  set(CUBLASLT_MATMUL_DESC_TRANSB, a_transposed);
  return owned;
}

constexpr int kCandidates = 8;  // of trials

// Sums over parts of K are added in f32, not rounded in between, and in a fixed order.
constexpr uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

ConstMatrix strided(const MatrixLayout& m, const std::byte* data) {
  return m.transposed ? ConstMatrix{data, 1, m.stride} : ConstMatrix{data, m.stride, 1};
}

std::byte* aligned(std::byte* p) {
  return reinterpret_cast<std::byte*>(ceil_div(reinterpret_cast<intptr_t>(p), 256) * 256);
}

MatrixLayout rows_of(MatrixLayout m, int64_t rows) {
  m.rows = rows;
  return m;
}

}  // namespace

LtProduct::LtProduct(ContextPtr context, MatrixLayout a, MatrixLayout b, MatrixLayout c)
    : context_(std::move(context)), a_(a), b_(b), c_(c) {
  const BlasLt& lt = context_->blas_lt();
  product_ = describe_product(lt, a.transposed, b.transposed);
  a_layout_ = describe(lt, a);
  b_layout_ = describe(lt, b);
  c_layout_ = describe(lt, c);
}

LtProduct::Alignments LtProduct::alignments_of(const std::byte* a, const std::byte* b, const std::byte* c) const {
  const auto alignment = [](const std::byte* data, const MatrixLayout& m) {
    return alignment_of(reinterpret_cast<uint64_t>(data), m.stride * item_bytes(m));
  };
  return {alignment(a, a_), alignment(b, b_), alignment(c, c_)};
}

std::vector<cublasLtMatmulAlgo_t> LtProduct::candidates(const Alignments& alignments, int most) const {
  const BlasLt& lt = context_->blas_lt();
  cublasLtMatmulPreference_t preference = nullptr;
  TRINE_CUDA(lt.MatmulPreferenceCreate(&preference));
  const std::shared_ptr<cublasLtMatmulPreferenceOpaque_t> owned(preference, lt.MatmulPreferenceDestroy);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    TRINE_CUDA(lt.MatmulPreferenceSetAttribute(preference, which, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspace));
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[1]);  // the library's first operand is B
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[0]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[2]);
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
  int found = 0;
  const cublasStatus_t status =
      lt.MatmulAlgoGetHeuristic(lt.handle(), product_.get(), b_layout_.get(), a_layout_.get(), c_layout_.get(),
                                c_layout_.get(), preference, most, results.data(), &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (const cublasLtMatmulHeuristicResult_t& result : std::span(results).first(static_cast<size_t>(found)))
    if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(result.algo);
  return algorithms;
}

void LtProduct::run_by(const cublasLtMatmulAlgo_t& algorithm, const std::byte* a, const std::byte* b, std::byte* c,
                       bool accumulate, std::byte* workspace) const {
  const BlasLt& lt = context_->blas_lt();
  const float alpha = 1, beta = accumulate ? 1 : 0;
  TRINE_CUDA(lt.Matmul(lt.handle(), product_.get(), &alpha, b, b_layout_.get(), a, a_layout_.get(), &beta, c,
                       c_layout_.get(), c, c_layout_.get(), &algorithm, workspace, static_cast<size_t>(kWorkspace),
                       context_->compute()));
}

void LtProduct::run(const std::byte* a, const std::byte* b, std::byte* c, bool accumulate,
                    std::byte* workspace) const {
  const Alignments alignments = alignments_of(a, b, c);
  if (const int version = context_->product_choices().version(); version != version_)
    algorithms_.clear(), version_ = version;
  const auto [entry, is_new] = algorithms_.try_emplace(alignments);
  if (is_new) entry->second = choose(alignments, a, b, c, accumulate, workspace);
  if (entry->second)
    run_by(*entry->second, a, b, c, accumulate, workspace);
  else
    plain_product(context_->compute(), a_.dtype, c_.dtype, c_.rows, c_.columns, a_.columns, strided(a_, a),
                  strided(b_, b), {c, c_.stride}, accumulate);
}

std::optional<cublasLtMatmulAlgo_t> LtProduct::choose(const Alignments& alignments, const std::byte* a,
                                                      const std::byte* b, std::byte* c, bool accumulate,
                                                      std::byte* workspace) const {
  const auto proposed = candidates(alignments, context_->options.deterministic ? 1 : kCandidates);
  if (proposed.empty()) return {};
  std::vector<std::string> names;
  for (const cublasLtMatmulAlgo_t& algorithm : proposed) {  // "can be trivially serialized", says the library
    names.emplace_back();
    for (const uint64_t word : algorithm.data) names.back() += fmt::format("{:016x}", word);
  }
  return proposed[context_->product_choices().choose(name_of(alignments, accumulate), names, [&](size_t i) {
    return try_out(proposed[i], a, b, c, accumulate, workspace);
  })];
}

// What the trial leaves in C is the caller's to bear: trials are open only while nothing of value is there.
double LtProduct::try_out(const cublasLtMatmulAlgo_t& algorithm, const std::byte* a, const std::byte* b,
                          std::byte* c, bool accumulate, std::byte* workspace) const try {
  const Event begin(/*timed=*/true), end(/*timed=*/true);
  run_by(algorithm, a, b, c, accumulate, workspace);  // loads it
  begin.record(context_->compute());
  for (int run = 1; run < ProductChoices::kRuns; ++run) run_by(algorithm, a, b, c, accumulate, workspace);
  end.record(context_->compute());
  end.synchronize();
  return end.seconds_since(begin) / (ProductChoices::kRuns - 1);
} catch (const DeviceError&) {  // proposed, and refused
  return std::numeric_limits<double>::infinity();
}

std::string LtProduct::name_of(const Alignments& alignments, bool accumulate) const {
  const auto matrix = [](const MatrixLayout& m) {
    return fmt::format("{} {}x{} by {}{}", name(m.dtype), m.rows, m.columns, m.stride, m.transposed ? "T" : "");
  };
  return fmt::format("{} * {} {} {}, aligned {} {} {}", matrix(a_), matrix(b_), accumulate ? "+>" : "->",
                     matrix(c_), alignments[0], alignments[1], alignments[2]);
}

Product::Product(ContextPtr context, const std::vector<std::pair<MatrixLayout, MatrixLayout>>& terms,
                 MatrixLayout c)
    : context_(std::move(context)), terms_(terms), c_(c) {
  if (terms.size() == 1) {
    products_.emplace_back(context_, terms[0].first, terms[0].second, c);
    return;
  }
  block_rows_ = std::min(c.rows, LtProduct::kWorkspace / (c.columns * 4));
  TRINE_CHECK(block_rows_ > 0, "a row of {} sums exceeds the workspace", c.columns);
  const MatrixLayout sums{DType::kF32, block_rows_, c.columns, c.columns};
  for (const auto& [a, b] : terms) {
    TRINE_CHECK(!a.transposed, "only rows of A are rows of C");
    products_.emplace_back(context_, rows_of(a, block_rows_), b, sums);
    if (const int64_t rest = c.rows % block_rows_; rest != 0)
      remainder_.emplace_back(context_, rows_of(a, rest), b, rows_of(sums, rest));
  }
}

void Product::run(const Addresses& terms, std::byte* c, bool accumulate, std::span<std::byte> workspace) const {
  TRINE_CHECK(static_cast<int64_t>(workspace.size()) >= workspace_bytes(), "{} bytes of workspace, {} needed",
              workspace.size(), workspace_bytes());
  if (terms_.size() == 1) {
    products_[0].run(terms[0].first, terms[0].second, c, accumulate, aligned(workspace.data()));
  } else {
    TRINE_CHECK(!accumulate, "several terms overwrite");
    run_blocks(terms, c, aligned(workspace.data()));
  }
}

void Product::run_blocks(const Addresses& terms, std::byte* c, std::byte* workspace) const {
  std::byte* const sums = workspace + LtProduct::kWorkspace;
  for (int64_t row = 0; row < c_.rows; row += block_rows_) {
    const int64_t rows = std::min(block_rows_, c_.rows - row);
    const std::vector<LtProduct>& products = rows == block_rows_ ? products_ : remainder_;
    for (size_t t = 0; t < terms.size(); ++t) {
      const MatrixLayout& a = terms_[t].first;
      products[t].run(terms[t].first + row * a.stride * item_bytes(a), terms[t].second, sums, t > 0, workspace);
    }
    copy_rows(context_->compute(), DType::kF32, c_.dtype, rows, c_.columns, {sums, c_.columns},
              {c + row * c_.stride * item_bytes(c_), c_.stride});
  }
}

}  // namespace trine::cuda
