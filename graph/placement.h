// Where a tensor lives on one mesh axis, and the algebra of gradients over it.
//   I  invariant    the same on all ranks, used the same way by all
//   R  replicated   the same value, each rank uses it for its own share of the work
//   S(d) split      along dim d
//   P  partial      the ranks' values must be summed
// The gradient of a value has the dual placement: I <-> I, R <-> P, S(d) <-> S(d).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace trine {

enum class PlacementKind : uint8_t { kInvariant, kReplicated, kSplit, kPartial };

struct Placement {
  PlacementKind kind = PlacementKind::kInvariant;
  int8_t dim = -1;     // of a split
  bool batch = false;  // a split over samples (dp): the shape in the type is already one rank's

  static constexpr Placement invariant() { return {}; }
  static constexpr Placement replicated() { return {PlacementKind::kReplicated, -1, false}; }
  static constexpr Placement split(int dim) { return {PlacementKind::kSplit, static_cast<int8_t>(dim), false}; }
  static constexpr Placement batch_split() { return {PlacementKind::kSplit, 0, true}; }
  static constexpr Placement partial() { return {PlacementKind::kPartial, -1, false}; }

  bool is(PlacementKind k) const { return kind == k; }
  bool operator==(const Placement&) const = default;
};

Placement dual(Placement placement);
std::string to_string(Placement placement);  // "I", "R", "S0", "P"; "B0" for a batch split

// The collectives, each a change of placement on one axis.
enum class CollectiveKind : uint8_t { kEnter, kAllReduce, kAllGather, kReduceScatter, kSlice, kPad };

// The collective that changes `from` into `to`, nullopt if none does.
std::optional<CollectiveKind> collective_between(Placement from, Placement to);

// The one rule for backward: forward from -> to has backward dual(to) -> dual(from).
struct Transition {
  Placement from, to;
  bool operator==(const Transition&) const = default;
};
inline Transition transpose(Transition t) { return {dual(t.to), dual(t.from)}; }

}  // namespace trine
