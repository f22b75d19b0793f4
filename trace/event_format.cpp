#include "trace/event_format.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "trace/classify.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

template <typename... Args>
void add(fmt::memory_buffer& text, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
}

// Microseconds with their nanoseconds: exactly.
void add_time(fmt::memory_buffer& text, std::string_view key, int64_t ns) {
  const int64_t whole = std::abs(ns) / 1000, rest = std::abs(ns) % 1000;
  add(text, ",\"{}\":{}{}.{:03}", key, ns < 0 ? "-" : "", whole, rest);
}

std::string group_name(Axis axis, const std::vector<int>& ranks) {
  return fmt::format("{}_{}", name(axis), ranks.front());
}

Axis axis_of(Lane lane) { return lane == Lane::kTp ? Axis::kTp : lane == Lane::kDp ? Axis::kDp : Axis::kPp; }

// Kineto's "Collective name" of ours.
std::string_view kineto_collective(std::string_view op) {
  if (op == "all_reduce") return "allreduce";
  if (op == "all_gather") return "_allgather_base";
  if (op == "reduce_scatter") return "_reduce_scatter_base";
  if (op.starts_with("send")) return "send";
  if (op.starts_with("receive")) return "recv";
  return op;
}

std::string_view kineto_dtype(std::string_view dtype) {
  if (dtype == "bf16") return "BFloat16";
  if (dtype == "f16" || dtype == "fp16") return "Half";
  if (dtype == "f32") return "Float";
  if (dtype == "i64") return "Long";
  if (dtype == "i32") return "Int";
  return dtype;
}

// The rows' names, before the events.
std::string metadata(std::string_view what, int rank, int tid, const Json& args) {
  return fmt::format("{{\"name\":\"{}\",\"ph\":\"M\",\"ts\":0,\"pid\":{},\"tid\":{},\"args\":{}}}", what, rank, tid,
                     dump(args));
}

std::string row_metadata(int rank, int tid, const std::string& row, int order) {
  return ",\n" + metadata("thread_name", rank, tid, {{"name", row}}) + ",\n" +
         metadata("thread_sort_index", rank, tid, {{"sort_index", order}});
}

}  // namespace

EventFormat::EventFormat(const TraceHeader& header)
    : header_(header), coordinate_(header.mesh.coordinate(header.rank)) {
  for (size_t i = 0; i < header.nodes.size(); ++i) nodes_.push_back(node_text(header.nodes[i], i));
  for (auto& rows : row_ends_) rows = {INT64_MIN};
}

EventFormat::NodeText EventFormat::node_text(const NodeLabel& label, size_t index) const {
  NodeText text;
  text.op = dump(label.op).substr(1);
  text.op.pop_back();  // the quotes: a prefix comes between
  text.sends = label.op.starts_with("send"), text.backward = label.op.ends_with("_grad");
  text.args = fmt::format(",\"node\":{},\"scope\":{},\"phase\":{}", index, dump(label.scope), dump(label.phase));
  if (!label.dtype.empty())
    text.message_args = fmt::format(
        ",\"Collective name\":{},\"dtype\":{},\"In msg nelems\":{},\"Out msg nelems\":{}",
        dump(kineto_collective(label.op)), dump(kineto_dtype(label.dtype)), label.in_elements, label.out_elements);
  return text;
}

std::string EventFormat::header() const {
  const Mesh& mesh = header_.mesh;
  Json groups = Json::array();
  for (const Axis axis : kAxes) {
    if (mesh[axis] == 1) continue;
    const std::vector<int> ranks = mesh.group(coordinate_, axis);
    groups.push_back({{"pg_name", group_name(axis, ranks)},
                      {"pg_desc", name(axis)},
                      {"backend_config", header_.backend},
                      {"pg_size", ranks.size()},
                      {"ranks", ranks}});
  }
  const Json distributed = {{"backend", header_.backend},
                            {"world_size", mesh.num_ranks()},
                            {"pg_count", groups.size()},
                            {"pg_config", groups},
                            {"clock_offset_ns", header_.clock.offset_ns},
                            {"clock_error_ns", header_.clock.error_ns}};
  Json nodes = Json::array();
  for (const NodeLabel& n : header_.nodes)
    nodes.push_back({n.op, n.scope, n.phase, n.dtype, n.in_elements, n.out_elements});
  Json own = {{"format", 1},
              {"rank", header_.rank},
              {"mesh", {{"pp", mesh.pp}, {"dp", mesh.dp}, {"tp", mesh.tp}}},
              {"host", header_.host},
              {"nodes", nodes}};
  if (const ModelledTime& modelled = header_.modelled; !modelled.cluster.empty()) {
    own[modelled.links_only ? "emulate_links" : "rehearsal"] = modelled.cluster;
    own[modelled.links_only ? "dilation" : "speed_up"] = modelled.times;
  }
  // "rank": 3 with the space, as Python's json writes it: Holistic Trace Analysis looks for this text.
  std::string text = fmt::format(
      "{{\"schemaVersion\": 1,\n\"distributedInfo\": {{\"rank\": {}, {},\n\"deviceProperties\": [{{\"id\": {}, \"name\": {}}}],\n"
      "\"displayTimeUnit\": \"ms\",\n\"baseTimeNanoseconds\": {},\n\"host_name\": {},\n\"trine\": {},\n"
      "\"traceEvents\": [\n",
      header_.rank, dump(distributed).substr(1), header_.rank, dump(header_.device), header_.origin_unix_ns,
      dump(header_.host), dump(own));
  return text + rows();
}

std::string EventFormat::merged_header() const {
  return fmt::format(
             "{{\"schemaVersion\": 1,\n\"displayTimeUnit\": \"ms\",\n\"baseTimeNanoseconds\": {},\n"
             "\"trine\": {{\"merged\": true}},\n\"traceEvents\": [\n",
             header_.origin_unix_ns) +
         rows();
}

std::string EventFormat::rows() const {
  const int rank = header_.rank;
  std::string text = metadata("process_name", rank, 0, {{"name", fmt::format("rank {}", rank)}});
  std::string labels = header_.host;
  if (header_.mesh.num_ranks() > 1)
    labels += fmt::format("{}pp {} dp {} tp {}", labels.empty() ? "" : ", ", coordinate_.pp, coordinate_.dp,
                          coordinate_.tp);
  text += ",\n" + metadata("process_labels", rank, 0, {{"labels", labels}});
  text += ",\n" + metadata("process_sort_index", rank, 0, {{"sort_index", rank}});
  text += row_metadata(rank, kStepRow, "steps", -2) + row_metadata(rank, kLaunchRow, "launches", -1);
  for (const Lane lane : kLanes) {
    const int row = static_cast<int>(lane);
    text += row_metadata(rank, row, std::string(name(lane)), row * kRowsPerLane);
  }
  return text;
}

// Viewers drop an event that overlaps another of its row without being inside it. The first row of the lane that is
// free takes it.
std::vector<int> EventFormat::rows_of(const StepTrace& step, Text& names) {
  std::vector<size_t> order(step.events.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return step.events[a].t0_ns < step.events[b].t0_ns; });
  std::vector<int> rows(order.size());
  for (const size_t i : order) {
    const TraceEvent& event = step.events[i];
    const auto lane = static_cast<size_t>(event.lane);
    std::vector<int64_t>& ends = row_ends_[lane];
    size_t row = 0;
    while (row < ends.size() && ends[row] > event.t0_ns) ++row;
    const int tid = static_cast<int>(lane + row * kRowsPerLane);
    if (row == ends.size()) {
      ends.push_back(0);
      const std::string text = row_metadata(header_.rank, tid, fmt::format("{} {}", name(event.lane), row + 1),
                                            static_cast<int>(lane * kRowsPerLane + row));
      names.append(text);
    }
    ends[row] = event.t1_ns;
    rows[i] = tid;
  }
  return rows;
}

std::string EventFormat::step(const StepTrace& step) {
  Text text;
  add(text, ",\n{{\"name\":\"ProfilerStep#{}\",\"ph\":\"X\",\"cat\":\"user_annotation\",\"pid\":{},\"tid\":{}",
      step.step, header_.rank, kStepRow);
  add_time(text, "ts", step.begin_ns);
  add_time(text, "dur", step.end_ns - step.begin_ns);
  add(text, ",\"args\":{{\"step\":{},\"clock_offset_ns\":{},\"clock_error_ns\":{}}}}}", step.step,
      step.clock.offset_ns, step.clock.error_ns);
  const std::vector<int> rows = rows_of(step, text);
  for (size_t i = 0; i < rows.size(); ++i) append_event(text, step.events[i], rows[i]);
  for (const MemorySample& sample : step.memory) {
    add(text, ",\n{{\"name\":\"{}\",\"ph\":\"C\",\"pid\":{},\"tid\":0",
        sample.kind == MemorySample::Kind::kArena ? kArenaCounter : kResidentCounter, header_.rank);
    add_time(text, "ts", sample.time_ns);
    add(text, ",\"args\":{{\"bytes\":{}}}}}", sample.bytes);
  }
  return fmt::to_string(text);
}

// Work of a device's queue is a kernel, and has a launch; HTA takes all other time of the queue as idle, so waiting
// and what the host does are operations of the CPU, without a stream. HTA knows communication by the names of
// NCCL's kernels, whatever carries it here.
void EventFormat::append_event(Text& text, const TraceEvent& event, int row) {
  const bool waits = is_waiting(event.kind), wire = is_wire(event.kind);
  const bool kernel = event.lane != Lane::kHost && !waits;
  const auto number = static_cast<size_t>(event.node);
  const NodeText* const node = event.node >= 0 && number < nodes_.size() ? &nodes_[number] : nullptr;
  add(text, ",\n{{\"name\":\"{}{}\",\"ph\":\"X\",\"cat\":\"{}\",\"pid\":{},\"tid\":{}",
      !node   ? ""
      : wire  ? "ncclKernel_"
      : waits ? "wait "
              : "",
      node ? std::string_view(node->op) : name(event.kind), kernel ? "kernel" : "cpu_op", header_.rank, row);
  add_time(text, "ts", event.t0_ns);
  add_time(text, "dur", std::max<int64_t>(event.t1_ns - event.t0_ns, 0));
  add(text, ",\"args\":{{\"step\":{}", event.step);
  if (kernel) add(text, ",\"device\":{},\"stream\":{},\"correlation\":{}", header_.rank, row, ++correlation_);
  const auto add_number = [&](std::string_view key, int64_t value) {
    if (value >= 0) add(text, ",\"{}\":{}", key, value);
  };
  add_number("microbatch", event.microbatch);
  add_number("action", event.action);
  add_number("chunk", event.chunk);
  add_number("peer", event.peer);
  add_number("seq", event.sequence);
  if (node)
    text.append(node->args);
  else
    add_number("node", event.node);
  if (node && wire && !node->message_args.empty()) {
    text.append(node->message_args);
    const std::vector<int> ranks = header_.mesh.group(coordinate_, axis_of(event.lane));
    add(text, ",\"Group size\":{},\"Process Group Name\":\"{}\",\"Process Group Description\":\"{}\"",
        event.peer >= 0 ? 2 : ranks.size(), group_name(axis_of(event.lane), ranks), name(axis_of(event.lane)));
  }
  add(text, ",\"kind\":\"{}\"", name(event.kind));
  if (event.bytes != 0) add(text, ",\"bytes\":{}", event.bytes);
  if (event.flops != 0) add(text, ",\"flops\":{}", event.flops);
  if (const auto ns = static_cast<double>(event.t1_ns - event.t0_ns); ns > 0) {  // per nanosecond: giga per second
    if (event.flops != 0) add(text, ",\"GFLOP/s\":{:.1f}", event.flops / ns);
    if (event.bytes != 0) add(text, ",\"GB/s\":{:.2f}", static_cast<double>(event.bytes) / ns);
  }
  text.append(std::string_view("}}"));
  if (kernel) {
    add(text, ",\n{{\"name\":\"cudaLaunchKernel\",\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"pid\":{},\"tid\":{}",
        header_.rank, kLaunchRow);
    add_time(text, "ts", event.t0_ns);
    add(text, ",\"dur\":0,\"args\":{{\"correlation\":{}}}}}", correlation_);
  }
  if (node && wire && event.peer >= 0 && event.sequence >= 0) append_arrow(text, event, row);
}

// From a message's send to its reception, where its bytes are. Both ends find the same number by themselves.
void EventFormat::append_arrow(Text& text, const TraceEvent& event, int row) const {
  const NodeText& node = nodes_[static_cast<size_t>(event.node)];
  if (!node.sends && event.bytes == 0) return;
  const int sender = node.sends ? header_.rank : header_.mesh.rank({event.peer, coordinate_.dp, coordinate_.tp});
  const int64_t edge = (int64_t{event.step} * header_.mesh.num_ranks() + sender) * 2 + (node.backward ? 1 : 0);
  add(text, ",\n{{\"name\":\"message\",\"cat\":\"pp\",\"ph\":\"{}\",\"id\":{},\"pid\":{},\"tid\":{}",
      node.sends ? "s" : "f\",\"bp\":\"e", (edge << 20) + event.sequence, header_.rank, row);
  add_time(text, "ts", event.t0_ns);
  text.push_back('}');
}

}  // namespace trine
