// The order that a graph guarantees, walked off the step program: nodes of one lane run in order,
// a node runs after the nodes it waits for, and an action (forward, input gradient or weight gradient of a chunk)
// begins when the one before has ended. That a node is enqueued behind another of the compute lane orders nothing:
// a lane may begin as soon as its waits allow. A message may write from where it is posted, and reads until the
// action's slot is waited for, which is beyond this walk.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/trace_event.h"
#include "graph/graph.h"

namespace trine {

class HappensBefore {
 public:
  explicit HappensBefore(const Graph& graph);
  // True if node a has finished before node b starts, in every execution. REQUIRES: both in one region.
  bool before(NodeId a, NodeId b) const;
  // True if every access in `a` comes before every access in `b`: buffers with these accesses may share bytes.
  bool all_before(std::span<const NodeId> a, std::span<const NodeId> b) const { return before(span(a), span(b)); }

  using Clock = std::array<int, kLanes.size()>;  // per lane, how many nodes have surely finished
  // What all_before() asks of accesses, for who compares the same ones many times.
  struct Span {
    Clock first = {};  // when the first of them starts
    Clock last = {};   // what must have finished for all of them to have
  };
  Span span(std::span<const NodeId> accesses) const;
  static bool before(const Span& a, const Span& b) {
    for (size_t l = 0; l < a.last.size(); ++l)
      if (a.last[l] > b.first[l]) return false;
    return true;
  }

 private:
  static constexpr int kNever = INT32_MAX;
  class Walk;
  std::vector<Clock> clock_;   // by node, at its start
  std::vector<int> sequence_;  // by node, its number in its lane, from 1
  std::vector<Lane> lane_;
};

}  // namespace trine
