// Tensor parallelism as placements (Megatron-LM, Shoeybi et al. 2019; sequence parallelism: Korthikanti et al.
// 2022). A model is written once; these few functions put the collectives where tp needs them,
// and nothing where tp = 1.
#pragma once

#include "graph/builder.h"

namespace trine {

class TensorParallel {
 public:
  TensorParallel(const Mesh& mesh, bool sequence_parallel)
      : active_(mesh.tp > 1), sequence_(mesh.tp > 1 && sequence_parallel), data_(mesh.dp > 1) {}

  // Placements of parameters.
  TensorType column(TensorType weight) const { return place(weight, Placement::split(0)); }  // [out / tp, in]
  TensorType row(TensorType weight) const { return place(weight, Placement::split(1)); }     // [out, in / tp]
  TensorType vocab(TensorType table) const { return place(table, Placement::split(0)); }     // [vocab / tp, hidden]
  // [out, in] on every rank, which uses the product for its share: the gradient is a sum over the ranks.
  TensorType whole(TensorType weight) const { return place(weight, Placement::replicated()); }
  TensorType norm(TensorType weight) const {  // used on a share of the tokens under sequence parallelism
    return place(weight, sequence_ ? Placement::replicated() : Placement::invariant());
  }

  // Of what flows from layer to layer: split over the tokens under sequence parallelism.
  TensorType activation(TensorType x) const;

  // In front of column-parallel weights: every rank gets all tokens.
  ValueId enter(Builder& b, ValueId x) const;
  // Behind whole weights: the columns that this rank uses.
  ValueId own_columns(Builder& b, ValueId x) const;
  // Behind row-parallel weights and the embedding: sums the ranks' parts.
  ValueId leave(Builder& b, ValueId partial) const;
  // The statistics of a vocabulary split over tp, from all ranks.
  ValueId gather_stats(Builder& b, ValueId stats) const;

 private:
  TensorType place(TensorType type, Placement on_tp) const;

  bool active_, sequence_, data_;
};

}  // namespace trine
