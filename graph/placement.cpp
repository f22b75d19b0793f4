#include "graph/placement.h"

namespace trine {

Placement dual(Placement p) {
  switch (p.kind) {
    case PlacementKind::kReplicated:
      return Placement::partial();
    case PlacementKind::kPartial:
      return Placement::replicated();
    case PlacementKind::kInvariant:
    case PlacementKind::kSplit:
      return p;
  }
  return p;
}

std::string to_string(Placement p) {
  switch (p.kind) {
    case PlacementKind::kInvariant:
      return "I";
    case PlacementKind::kReplicated:
      return "R";
    case PlacementKind::kSplit:
      return (p.batch ? "B" : "S") + std::to_string(p.dim);
    case PlacementKind::kPartial:
      return "P";
  }
  return "?";
}

std::optional<CollectiveKind> collective_between(Placement from, Placement to) {
  using enum PlacementKind;
  struct Row {
    PlacementKind from, to;
    CollectiveKind kind;
  };
  static constexpr Row table[] = {
      {kInvariant, kReplicated, CollectiveKind::kEnter},   // Megatron's f; backward is an all-reduce
      {kPartial, kInvariant, CollectiveKind::kAllReduce},  // Megatron's g; backward is enter
      {kPartial, kReplicated, CollectiveKind::kAllReduce},
      {kSplit, kReplicated, CollectiveKind::kAllGather},  // sequence-parallel gather
      {kSplit, kInvariant, CollectiveKind::kAllGather},
      {kPartial, kSplit, CollectiveKind::kReduceScatter},  // sequence-parallel scatter
      {kInvariant, kSplit, CollectiveKind::kSlice},
      {kReplicated, kSplit, CollectiveKind::kSlice},  // backward pads, without communication
      {kSplit, kPartial, CollectiveKind::kPad},
  };
  for (const Row& row : table)
    if (row.from == from.kind && row.to == to.kind) return row.kind;
  return std::nullopt;
}

}  // namespace trine
