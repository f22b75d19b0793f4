// How steps of a rank are written as events of Chrome's JSON. The names in it are those of Kineto, which HTA, the
// TensorBoard plugin and Perfetto look for.
#pragma once

#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <vector>

#include "trace/trace_writer.h"

namespace trine {

// A row (tid) is a lane, plus kRowsPerLane for each further one that it needs because events of it overlap.
inline constexpr int kRowsPerLane = 10, kStepRow = 100, kLaunchRow = 101;
inline constexpr std::string_view kArenaCounter = "arena bytes in use", kResidentCounter = "resident bytes";

class EventFormat {
 public:
  explicit EventFormat(const TraceHeader& header);

  // All that comes before the first event, and rows(); text up to the last event without a comma.
  std::string header() const;
  // The same of a file in which other ranks follow.
  std::string merged_header() const;
  // The names of the process and of its rows: "{...},\n{...}".
  std::string rows() const;
  // ",\n{...},\n{...}": the step's bounds, then its events in their order, then counters.
  std::string step(const StepTrace& step);

 private:
  using Text = fmt::memory_buffer;
  // What is the same in all events of a node.
  struct NodeText {
    std::string op, args, message_args;
    bool sends = false, backward = false;
  };

  NodeText node_text(const NodeLabel& label, size_t index) const;
  std::vector<int> rows_of(const StepTrace& step, Text& names);
  void append_event(Text& text, const TraceEvent& event, int row);
  void append_arrow(Text& text, const TraceEvent& event, int row) const;

  const TraceHeader header_;
  const Coordinate coordinate_;
  std::vector<NodeText> nodes_;
  std::array<std::vector<int64_t>, kLanes.size()> row_ends_;  // by lane, when each row's last event ends
  int64_t correlation_ = 0;
};

}  // namespace trine
