// An op's index map says which dims of its operands are the same index, and from that alone follows how its
// operands may be placed on a mesh axis. Text form:
//
//   x[n,k] w[m,k] -> y[n,m] : x, w        a product: linear in x alone, and in w alone
//   a[n,d] b[n,d] -> y[n,d] : a+b         a sum: linear in both together
//   x[n,d!] w[d] -> y[n,d] rstd[n]        d is needed whole (never split over tp); nonlinear
//   ~ids[n] w[v,d] -> y[n,d] : w          ~ marks an operand without gradient
//
// An index of an input that no output has is summed away.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mesh.h"
#include "graph/placement.h"

namespace trine {

struct IndexMap {
  struct Operand {
    std::string name;
    std::vector<std::string> indices;
    bool differentiable = true;
  };
  std::vector<Operand> inputs, outputs;
  std::vector<std::string> whole;           // indices marked with !
  std::vector<std::vector<int>> linear_in;  // sets of inputs in which the op is jointly linear
};

// REQUIRES: well-formed text; a CheckError names the place otherwise.
IndexMap parse_index_map(std::string_view text);
// The same, parsed once for each text and thread: a graph has thousands of nodes and a few dozen texts.
const IndexMap& known_index_map(const std::string& text);

// Placements of the outputs on `axis`, or why the inputs' placements are illegal together. The rule (per axis):
//  (a) all differentiable inputs are I                         -> outputs I
//  (b) none is I or P; each that has the split index is S on it, the rest R
//                                                              -> S on that index, or P where it is summed away
//  (c) the inputs of one set of linear_in are P, the rest R    -> P
// Inputs without gradient fit anywhere, but take part in (b) when they are split.
std::variant<std::vector<Placement>, std::string> derive_placements(const IndexMap& map,
                                                                    std::span<const Placement> inputs, Axis axis);

}  // namespace trine
