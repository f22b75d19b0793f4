// Matrix products by oneDNN:  C [M, N] (+)= sum_i A_i [M, K_i] * B_i [K_i, N], accumulated in f32 and rounded once.
//
// One term of a type that the library multiplies fast runs as one call. Otherwise (f16, bf16 on most machines
// without AMX, several terms that do not lie side by side) the product goes block by block
// through f32 copies in the workspace.
#pragma once

#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"

namespace trine::cpu {

// A matrix operand: element (r, c) at data[r * row_stride + c * column_stride]; one of the strides is 1.
struct MatrixLayout {
  DType dtype = DType::kF32;
  int64_t rows = 0, columns = 0, row_stride = 0, column_stride = 1;
};

class Product {
 public:
  // `terms` are pairs A_i, B_i. With `accumulates`, C (f32) is added to where a call says so.
  Product(ContextPtr context, std::vector<std::pair<MatrixLayout, MatrixLayout>> terms, MatrixLayout c,
          bool accumulates);

  void run(std::span<const std::pair<const std::byte*, const std::byte*>> terms, std::byte* c, bool accumulate,
           std::span<std::byte> workspace) const;

  // What run() uses at most of the workspace.
  int64_t workspace_bytes() const;

 private:
  struct Primitive {
    dnnl::matmul matmul;
    dnnl::memory::desc a, b, c, scratch;
  };
  std::unique_ptr<Primitive> make(MatrixLayout a, MatrixLayout b, MatrixLayout c, bool accumulate) const;
  void execute(const Primitive& primitive, const std::byte* a, const std::byte* b, std::byte* c,
               std::span<std::byte> workspace) const;
  void run_blocks(std::span<const std::pair<const std::byte*, const std::byte*>> terms, std::byte* c,
                  bool accumulate, std::span<std::byte> workspace) const;
  struct BlockBytes {
    int64_t a = 0, b = 0, c = 0;  // c: 0 where C is added up in place
    int64_t total() const { return a + b + c; }
  };
  BlockBytes block_bytes() const;  // of the largest blocks
  const Primitive& block(const MatrixLayout& a, const MatrixLayout& b, const MatrixLayout& c,
                         bool accumulate) const;

  ContextPtr context_;
  std::vector<std::pair<MatrixLayout, MatrixLayout>> terms_;
  MatrixLayout c_;
  bool accumulates_;
  std::unique_ptr<Primitive> overwrite_, accumulate_;  // null: block by block
  mutable std::map<std::vector<int64_t>, std::unique_ptr<Primitive>> blocks_;
  mutable dnnl::stream stream_;
};

}  // namespace trine::cpu
