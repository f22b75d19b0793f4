// Matrix products by cuBLASLt:  C [M, N] (+)= sum_i A_i [M, K_i] * B_i [K_i, N], accumulated in f32 and rounded
// once. TF32 is off. One term runs as one call; several terms are added up in f32 in the workspace, in blocks of
// rows. The algorithm is that of product_choices.h; with KernelOptions::deterministic the library's first proposal,
// so that runs and resumed runs repeat it on any GPU of a kind. What the library refuses (odd strides of 16-bit
// types, perhaps) runs on a plain kernel.
#pragma once

#include <array>
#include <map>
#include <optional>

#include "kernels/cuda/blas_lt.h"

namespace trine::cuda {

// A matrix operand: element (r, c) at data[r * stride + c], or where it is transposed, data[c * stride + r].
struct MatrixLayout {
  DType dtype = DType::kF32;
  int64_t rows = 0, columns = 0, stride = 0;
  bool transposed = false;
};

// One product of two matrices. C is not transposed.
class LtProduct {
 public:
  // As much workspace as the library may take, whatever the plan has besides.
  static constexpr int64_t kWorkspace = (int64_t{32} << 20) - 256;

  LtProduct(ContextPtr context, MatrixLayout a, MatrixLayout b, MatrixLayout c);
  // REQUIRES: workspace is a multiple of 256 and kWorkspace bytes long.
  void run(const std::byte* a, const std::byte* b, std::byte* c, bool accumulate, std::byte* workspace) const;

  using Alignments = std::array<uint32_t, 3>;  // of a, b, c, in bytes
  Alignments alignments_of(const std::byte* a, const std::byte* b, const std::byte* c) const;
  // At most so many algorithms, the library's favourite first; none if it refuses the problem.
  std::vector<cublasLtMatmulAlgo_t> candidates(const Alignments& alignments, int most) const;
  // As run(), by this algorithm.
  void run_by(const cublasLtMatmulAlgo_t& algorithm, const std::byte* a, const std::byte* b, std::byte* c,
              bool accumulate, std::byte* workspace) const;

 private:
  std::optional<cublasLtMatmulAlgo_t> choose(const Alignments& alignments, const std::byte* a, const std::byte* b,
                                             std::byte* c, bool accumulate, std::byte* workspace) const;
  double try_out(const cublasLtMatmulAlgo_t& algorithm, const std::byte* a, const std::byte* b, std::byte* c,
                 bool accumulate, std::byte* workspace) const;
  std::string name_of(const Alignments& alignments, bool accumulate) const;

  ContextPtr context_;
  MatrixLayout a_, b_, c_;
  std::shared_ptr<cublasLtMatmulDescOpaque_t> product_;
  std::shared_ptr<cublasLtMatrixLayoutOpaque_t> a_layout_, b_layout_, c_layout_;
  // Chosen at the first call, and anew where choices are adopted.
  mutable std::map<Alignments, std::optional<cublasLtMatmulAlgo_t>> algorithms_;
  mutable int version_ = 0;
};

class Product {
 public:
  using Addresses = std::vector<std::pair<const std::byte*, const std::byte*>>;

  // `terms` are pairs A_i, B_i.
  Product(ContextPtr context, const std::vector<std::pair<MatrixLayout, MatrixLayout>>& terms, MatrixLayout c);
  void run(const Addresses& terms, std::byte* c, bool accumulate, std::span<std::byte> workspace) const;

  static int64_t workspace_bytes() { return 2 * (LtProduct::kWorkspace + 256); }

 private:
  void run_blocks(const Addresses& terms, std::byte* c, std::byte* workspace) const;

  ContextPtr context_;
  std::vector<std::pair<MatrixLayout, MatrixLayout>> terms_;
  MatrixLayout c_;
  int64_t block_rows_ = 0;            // of several terms
  std::vector<LtProduct> products_;   // the one; or for each term one of a block of rows
  std::vector<LtProduct> remainder_;  // and of the last block, where it is smaller
};

}  // namespace trine::cuda
