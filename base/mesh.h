// The grid of ranks: axes pp (pipeline), dp (data) and tp (tensor), tp varying fastest. Pure arithmetic: the same
// on every rank, in the simulator and in a dry run of thousands of ranks.
#pragma once

#include <array>
#include <string_view>
#include <vector>

namespace trine {

enum class Axis { kPp, kDp, kTp };
inline constexpr std::array<Axis, 3> kAxes = {Axis::kPp, Axis::kDp, Axis::kTp};
std::string_view name(Axis axis);  // "pp", "dp", "tp"

// Where a rank stands on each axis.
struct Coordinate {
  int pp = 0, dp = 0, tp = 0;
  int operator[](Axis axis) const { return axis == Axis::kPp ? pp : axis == Axis::kDp ? dp : tp; }
  bool operator==(const Coordinate&) const = default;
};

struct Mesh {
  int pp = 1, dp = 1, tp = 1;

  int num_ranks() const { return pp * dp * tp; }
  int operator[](Axis axis) const { return axis == Axis::kPp ? pp : axis == Axis::kDp ? dp : tp; }
  Coordinate coordinate(int rank) const { return {rank / (tp * dp), rank / tp % dp, rank % tp}; }
  int rank(Coordinate c) const { return (c.pp * dp + c.dp) * tp + c.tp; }
  // The ranks that differ from `c` along `axis` only, in the order of that axis.
  std::vector<int> group(Coordinate c, Axis axis) const;
  bool operator==(const Mesh&) const = default;
};

}  // namespace trine
