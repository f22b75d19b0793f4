// The optimizer, on flat buckets: gradient norm, clipping, AdamW. Padding between a bucket's parameters is zero in
// every state and stays so.
#pragma once

#include "graph/op.h"

namespace trine {

// The sum of squares of a gradient bucket, added exactly: each 256-element block counted from the bucket's start is
// summed in f32, and block sums are added as integers (kernels' squared_norm_bins), so the order of adding is free.
// Bins have room for kMaxBlocks blocks, of all buckets and ranks together.
//   grad [E] f32   ->   (state) bins [65] i64; the first write of a step overwrites
struct SquaredNorm final : Op {
  static constexpr int kNumBins = 65;
  static constexpr int64_t kBlock = 256, kMaxBlocks = int64_t{1} << 36;
  bool first = true;  // overwrites the bins; the later buckets of a step add to them

  explicit SquaredNorm(bool first_of_step) : first(first_of_step) {}
  std::string_view name() const override { return "squared_norm"; }
  std::string index_map() const override { return "~grad[e] -> bins[b]"; }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override { a("first", first); }
  int num_writes() const override { return 1; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis axis,
                                                          const Mesh& mesh) const override;
};

// From the squared norm to the factor that AdamW applies: norm = sqrt(sum) / loss_scale,
// factor = min(1, max_norm / (norm + 1e-6)) / loss_scale. A non-finite gradient or loss gives apply = 0, and the
// step counter of Adam does not advance.
//   bins [65] i64, one for each placement of buckets   loss_scale [1]   loss_sum [1]
//     ->   (states) grad_norm [1] f32   factor [1] f32   apply [1] i32   adam_step [1] i32 (+1 if applied)
struct ClipGradients final : Op {
  float max_norm = 0;  // 0: no clipping
  int num_bins = 1;

  explicit ClipGradients(float max, int bins = 1) : max_norm(max), num_bins(bins) {}
  std::string_view name() const override { return "clip_gradients"; }
  std::string index_map() const override;
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override { return streaming_cost(in, out, mesh, 4); }
  void describe(Attributes& a) const override { a("max_norm", max_norm); }
  int num_writes() const override { return 4; }
};

// AdamW (Loshchilov & Hutter 2019) with decoupled weight decay, f32 master weights, and the compute copy rounded
// from them, in one pass over memory:
//   g = grad * factor;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   p = p - lr wd p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//   grad [E] f32   lr, factor [1] f32   apply, adam_step [1] i32
//     ->   (states) master, momentum, variance [E] f32   weights [E] in the compute type
struct AdamW final : Op {
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f, weight_decay = 0;
  DType compute_dtype = DType::kBF16;

  std::string_view name() const override { return "adamw"; }
  std::string index_map() const override {
    return "~grad[e] ~lr[one] ~factor[one] ~apply[one] ~adam_step[one] -> master[e] momentum[e] "
           "variance[e] weights[e]";
  }
  Types infer(TypeSpan in) const override;
  std::vector<ValueId> vjp(Builder&, const Node&, std::span<const ValueId>) const override { return no_vjp(*this); }
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  int num_writes() const override { return 4; }
};

}  // namespace trine
