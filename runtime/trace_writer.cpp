#include "runtime/trace_writer.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "runtime/step/trace_recorder.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kTail = "\n]}\n";
constexpr int kStepRow = 100;  // tid of the steps; a lane's tid is its number

std::string json_string(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_wire(EventKind kind) {
  return kind == EventKind::kCommTp || kind == EventKind::kCommPp || kind == EventKind::kCommDp;
}

std::string header(int rank, int num_ranks, const TraceLabels& labels) {
  return fmt::format(
      "{{\"schemaVersion\": 1,\n"
      "\"distributedInfo\": {{\"backend\": {}, \"rank\": {}, \"world_size\": {}, \"clock_offset_ns\": {}, "
      "\"clock_error_ns\": {}}},\n"
      "\"deviceProperties\": [{{\"id\": 0, \"name\": {}}}],\n"
      "\"displayTimeUnit\": \"ms\",\n"
      "\"baseTimeNanoseconds\": {},\n"
      "\"traceEvents\": [",
      json_string(labels.backend), rank, num_ranks, labels.clock.offset_ns, labels.clock.error_ns,
      json_string(labels.device), labels.base_time_ns);
}

// Names and order of the rows.
std::string metadata(int rank, const TraceLabels& labels) {
  std::string text;
  const auto add = [&](std::string_view what, int tid, Json args) {
    text += fmt::format("{}\n{{\"name\":\"{}\",\"ph\":\"M\",\"ts\":0,\"pid\":{},\"tid\":{},\"args\":{}}}",
                        text.empty() ? "" : ",", what, rank, tid,
                        args.dump(-1, ' ', false, Json::error_handler_t::replace));
  };
  add("process_name", 0, {{"name", fmt::format("rank {}", rank)}});
  add("process_labels", 0, {{"labels", labels.coordinate}});
  add("process_sort_index", 0, {{"sort_index", rank}});
  const auto add_row = [&](int tid, std::string_view row, int order) {
    add("thread_name", tid, {{"name", row}});
    add("thread_sort_index", tid, {{"sort_index", order}});
  };
  add_row(kStepRow, "steps", -1);
  for (Lane lane : kLanes) add_row(static_cast<int>(lane), name(lane), static_cast<int>(lane));
  return text;
}

double microseconds(int64_t ns) { return static_cast<double>(ns) * 1e-3; }

void append_times(std::string& text, std::string_view category, int rank, int tid, int64_t t0_ns, int64_t t1_ns) {
  fmt::format_to(std::back_inserter(text),
                 "\"ph\":\"X\",\"cat\":\"{}\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}", category, rank,
                 tid, microseconds(t0_ns), microseconds(std::max<int64_t>(t1_ns - t0_ns, 0)));
}

// What an event is called. Holistic Trace Analysis knows communication by the names of NCCL's kernels, whatever
// carries it here.
std::string title(const TraceEvent& event, const Node* node) {
  const std::string_view plain = node ? node->op->name() : name(event.kind);
  return is_wire(event.kind) ? fmt::format("ncclKernel_{}", plain) : std::string(plain);
}

void append_event(std::string& text, const Graph& graph, const TraceEvent& event, int rank) {
  const Node* node = event.node < 0 ? nullptr : &graph[NodeId{event.node}];
  const int tid = static_cast<int>(event.lane);
  // Lanes but the host's count as streams of a device.
  const bool host = event.lane == Lane::kHost;
  fmt::format_to(std::back_inserter(text), ",\n{{\"name\":{},", json_string(title(event, node)));
  append_times(text, host ? "cpu_op" : "kernel", rank, tid, event.t0_ns, event.t1_ns);
  fmt::format_to(std::back_inserter(text), ",\"args\":{{\"step\":{}", event.step);
  if (!host) fmt::format_to(std::back_inserter(text), ",\"device\":0,\"stream\":{}", tid);
  if (event.microbatch >= 0) fmt::format_to(std::back_inserter(text), ",\"microbatch\":{}", event.microbatch);
  if (node) {
    fmt::format_to(std::back_inserter(text), ",\"node\":{},\"scope\":{},\"phase\":\"{}\"", event.node,
                   json_string(node->scope),
                   node->region == Region::kMicrobatch ? std::string(1, letter(node->phase))
                                                       : std::string(name(node->region)));
  }
  fmt::format_to(std::back_inserter(text), ",\"kind\":\"{}\",\"bytes\":{},\"flops\":{:.0f}", name(event.kind),
                 event.bytes, event.flops);
  if (event.t1_ns > event.t0_ns) {  // per nanosecond is giga per second
    const double ns = static_cast<double>(event.t1_ns - event.t0_ns);
    fmt::format_to(std::back_inserter(text), ",\"GFLOP/s\":{:.3f},\"GB/s\":{:.3f}", event.flops / ns,
                   static_cast<double>(event.bytes) / ns);
  }
  text += "}}";
}

void append_step_row(std::string& text, std::span<const TraceEvent> events, int rank) {
  int64_t begin = INT64_MAX, end = INT64_MIN;
  for (const TraceEvent& event : events) begin = std::min(begin, event.t0_ns), end = std::max(end, event.t1_ns);
  fmt::format_to(std::back_inserter(text), ",\n{{\"name\":\"ProfilerStep#{}\",", events[0].step);
  append_times(text, "user_annotation", rank, kStepRow, begin, end);
  fmt::format_to(std::back_inserter(text), ",\"args\":{{\"step\":{}}}}}", events[0].step);
}

}  // namespace

int64_t wall_clock_base_ns() {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count() - now_ns();
}

TraceWriter::TraceWriter(const std::filesystem::path& path, int rank, int num_ranks, const TraceLabels& labels)
    : file_(path),
      rank_(rank),
      clock_offset_ns_(labels.clock.offset_ns),
      unwritten_(header(rank, num_ranks, labels) + metadata(rank, labels)) {
  write("");
}

void TraceWriter::write_step(const Graph& graph, std::span<const TraceEvent> events) {
  TRINE_CHECK(!closed_, "a step after close()");
  if (events.empty()) return;
  std::vector<TraceEvent> aligned(events.begin(), events.end());
  for (TraceEvent& event : aligned) event.t0_ns += clock_offset_ns_, event.t1_ns += clock_offset_ns_;
  std::string text;
  append_step_row(text, aligned, rank_);
  for (const TraceEvent& event : aligned) append_event(text, graph, event, rank_);
  write(std::move(text));
}

void TraceWriter::write(std::string events) {
  // The closing brackets are overwritten by what comes next, so the file is whole at any time but during a write.
  events.insert(0, unwritten_);
  const size_t size = events.size();
  events += kTail;
  if (file_.write_from(tail_offset_, events)) {
    tail_offset_ += static_cast<int64_t>(size);
    unwritten_.clear();
  } else if (tail_offset_ > 0) {
    file_.append(kTail);
  }
}

void TraceWriter::close() { closed_ = true; }

}  // namespace trine
