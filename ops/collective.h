// A collective: a value that changes its placement on one mesh axis. The logical shape stays; what moves over the
// wire follows from (from -> to), and so does backward: dual(to) -> dual(from) (graph/placement.h).
//   x [..]   ->   y [..]
#pragma once

#include "graph/op.h"

namespace trine {

struct Collective final : Op {
  Axis axis = Axis::kTp;
  Transition change;
  int num_dims = 2;
  DType wire = DType::kF32;  // f32 values may travel as bf16: sums in f32, rounded once
  bool into_state = false;   // writes a state (a view of what it reads, mostly) in place of giving a value

  // REQUIRES: collective_between(change.from, change.to) exists.
  Collective(Axis mesh_axis, Transition transition, int dims = 2, bool writes_state = false);
  CollectiveKind kind() const;
  // True: no byte leaves the rank.
  bool is_local() const;
  std::string_view name() const override;
  std::string index_map() const override;
  Types infer(TypeSpan in) const override { return {{in[0].dtype, in[0].shape}}; }
  std::vector<ValueId> vjp(Builder& b, const Node& node, std::span<const ValueId> dy) const override;
  Cost cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const override;
  void describe(Attributes& a) const override;
  int num_writes() const override { return into_state ? 1 : 0; }
  std::vector<InPlace> in_place() const override;
  Rebuild rebuild() const override;
  bool is_view() const override { return kind() == CollectiveKind::kEnter && !into_state; }
  std::variant<std::vector<Placement>, std::string> place(const IndexMap&, std::span<const Placement> in, Axis on,
                                                          const Mesh& mesh) const override;
};

}  // namespace trine
