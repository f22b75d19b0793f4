#include "parallel/tensor_parallel.h"

#include "ops/collective.h"

namespace trine {

TensorType TensorParallel::place(TensorType type, Placement on_tp) const {
  if (active_) type.on(Axis::kTp) = on_tp;
  if (data_) type.on(Axis::kDp) = Placement::replicated();
  return type;
}

TensorType TensorParallel::activation(TensorType x) const {
  if (sequence_) x.on(Axis::kTp) = Placement::split(0);
  if (data_) x.on(Axis::kDp) = Placement::batch_split();
  return x;
}

ValueId TensorParallel::enter(Builder& b, ValueId x) const {
  if (!active_) return x;
  const Placement from = sequence_ ? Placement::split(0) : Placement::invariant();
  return b.add(Collective(Axis::kTp, {from, Placement::replicated()}), {x});
}

ValueId TensorParallel::own_columns(Builder& b, ValueId x) const {
  if (!active_) return x;
  return b.add(Collective(Axis::kTp, {Placement::replicated(), Placement::split(1)}), {x});
}

ValueId TensorParallel::leave(Builder& b, ValueId partial) const {
  if (!active_) return partial;
  const Placement to = sequence_ ? Placement::split(0) : Placement::invariant();
  return b.add(Collective(Axis::kTp, {Placement::partial(), to}), {partial});
}

ValueId TensorParallel::gather_stats(Builder& b, ValueId stats) const {
  if (!active_) return stats;
  return b.add(Collective(Axis::kTp, {Placement::split(0), Placement::invariant()}, 3), {stats});
}

}  // namespace trine
