#include "plan/memory_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "plan/happens_before.h"
#include "plan/packing.h"

namespace trine {
namespace {

// Bytes that one or several values share: an output, outputs side by side, and all that is written over them.
struct Buffer {
  int64_t bytes = 0;
  std::vector<NodeId> accesses;
  bool kept = false;  // accessed by more than one action of a microbatch
  std::string name;
};

struct InBuffer {
  size_t buffer = 0;
  int64_t offset = 0, row_stride = 0;
};

class Planner {
 public:
  Planner(const Graph& graph, const Schedule& schedule, int threads)
      : graph_(graph), order_(graph), threads_(threads), in_buffer_(graph.values().size()) {
    plan_.values.resize(graph.values().size());
    assign_frames(schedule);
  }

  MemoryPlan run() {
    place_states();
    make_buffers();
    place_buffers();
    reserve_workspace();
    return std::move(plan_);
  }

 private:
  // A microbatch holds a frame from its forward until the last part of its backward.
  void assign_frames(const Schedule& schedule) {
    std::map<int, size_t> last_action;
    for (size_t i = 0; i < schedule.size(); ++i) last_action[schedule[i].microbatch] = i;
    std::vector<bool> busy;
    plan_.frame_of_microbatch.resize(last_action.size());
    for (size_t i = 0; i < schedule.size(); ++i) {
      const size_t microbatch = static_cast<size_t>(schedule[i].microbatch);
      if (schedule[i].kind == ActionKind::kForward) {
        const auto free = std::find(busy.begin(), busy.end(), false);
        plan_.frame_of_microbatch[microbatch] = static_cast<int>(free - busy.begin());
        if (free == busy.end())
          busy.push_back(true);
        else
          *free = true;
      }
      if (last_action[schedule[i].microbatch] == i)
        busy[static_cast<size_t>(plan_.frame_of_microbatch[microbatch])] = false;
    }
    plan_.num_frames = std::max<int>(1, static_cast<int>(busy.size()));
  }

  void place_states() {
    plan_.state_offsets.assign(graph_.states().size(), -1);
    std::map<StateRole, int64_t> bytes_by_role;
    for (size_t i = 0; i < graph_.states().size(); ++i) {
      const State& state = graph_.states()[i];
      if (state.storage.valid()) continue;
      const int64_t bytes = local_bytes(state.type, graph_.mesh());
      plan_.state_offsets[i] = plan_.states_bytes;
      use(plan_.states_bytes, bytes);
      plan_.states_bytes += round_up(bytes, kBufferAlignment);
      bytes_by_role[state.role] += round_up(bytes, kBufferAlignment);
    }
    for (size_t i = 0; i < graph_.states().size(); ++i)
      plan_.state_offsets[i] = state_offset({static_cast<int32_t>(i)});
    static const std::map<StateRole, const char*> names = {{StateRole::kParameter, "weights (compute copy)"},
                                                           {StateRole::kGradient, "gradients (accumulated)"},
                                                           {StateRole::kMaster, "Adam: master weights"},
                                                           {StateRole::kMomentum, "Adam: momentum"},
                                                           {StateRole::kVariance, "Adam: variance"},
                                                           {StateRole::kBatch, "samples of a step"},
                                                           {StateRole::kScalar, "step scalars"},
                                                           {StateRole::kCache, "caches"}};
    for (const auto& [role, bytes] : bytes_by_role) plan_.table.push_back({names.at(role), bytes});
  }

  int64_t state_offset(StateId id) const {  // a view may lie in a view (a tied head in an embedding in a bucket)
    const State& state = graph_[id];
    if (!state.storage.valid()) return plan_.state_offsets[static_cast<size_t>(id.index)];
    return state_offset(state.storage) + state.offset * static_cast<int64_t>(size_bytes(state.type.dtype));
  }

  void make_buffers() {
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      const Node& node = graph_.nodes()[n];
      const NodeId id{static_cast<int32_t>(n)};
      std::vector<bool> done(node.outputs.size(), false);
      for (const InPlace& alias : node.in_place) {
        in_buffer_[index(node.outputs[static_cast<size_t>(alias.output)])] =
            in_buffer_[index(node.inputs[static_cast<size_t>(alias.input)])];
        done[static_cast<size_t>(alias.output)] = true;
      }
      if (node.op->outputs_side_by_side() && node.in_place.empty()) side_by_side(node, done);
      for (size_t i = 0; i < node.outputs.size(); ++i)
        if (!done[i]) own_buffer(node, node.outputs[i]);
      for (ValueId value : node.inputs)
        if (!graph_[value].state.valid()) access(value, id);
      for (ValueId value : node.outputs) access(value, id);
    }
  }

  void own_buffer(const Node& node, ValueId value) {
    const Shape shape = local_shape(graph_[value].type, graph_.mesh());
    in_buffer_[index(value)] = {buffers_.size(), 0, shape.num_columns()};
    const int64_t bytes = shape.num_elements() * static_cast<int64_t>(size_bytes(graph_[value].type.dtype));
    buffers_.push_back(
        {round_up(std::max<int64_t>(bytes, 1), kBufferAlignment), {}, false, buffer_name(node, value)});
  }

  void side_by_side(const Node& node, std::vector<bool>& done) {
    int64_t columns = 0, rows = 0;
    for (ValueId value : node.outputs) {
      const Shape shape = local_shape(graph_[value].type, graph_.mesh());
      rows = shape.num_rows();
      columns += shape.num_columns();
    }
    const int64_t element = static_cast<int64_t>(size_bytes(graph_[node.outputs[0]].type.dtype));
    int64_t column = 0;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      in_buffer_[index(node.outputs[i])] = {buffers_.size(), column * element, columns};
      column += local_shape(graph_[node.outputs[i]].type, graph_.mesh()).num_columns();
      done[i] = true;
    }
    buffers_.push_back(
        {round_up(rows * columns * element, kBufferAlignment), {}, false, buffer_name(node, node.outputs[0])});
  }

  // "layers.3.ffn" -> "layers.ffn: linear": what the table calls the activations of all layers together.
  std::string buffer_name(const Node& node, ValueId value) const {
    std::string scope;
    for (size_t i = 0; i < node.scope.size(); ++i) {
      const bool number = node.scope[i] >= '0' && node.scope[i] <= '9';
      if (!number && !(node.scope[i] == '.' && i + 1 < node.scope.size() && std::isdigit(node.scope[i + 1])))
        scope += node.scope[i];
    }
    const std::string& name = graph_[value].name;
    return fmt::format("{}: {}", scope, name.empty() ? std::string(node.op->name()) : name);
  }

  void access(ValueId value, NodeId node) {
    Buffer& buffer = buffers_[in_buffer_[index(value)].buffer];
    const auto action = [&](NodeId id) { return std::pair(graph_[id].region, graph_[id].phase); };
    if (!buffer.accesses.empty() && action(buffer.accesses[0]) != action(node)) buffer.kept = true;
    buffer.accesses.push_back(node);
  }

  bool conflict(size_t a, size_t b) const {
    const std::vector<NodeId>&x = buffers_[a].accesses, &y = buffers_[b].accesses;
    if (graph_[x[0]].region != graph_[y[0]].region) return false;
    return !order_.all_before(x, y) && !order_.all_before(y, x);
  }

  // With one frame a microbatch runs forward and backward before the next one begins, so all buffers share one
  // stretch. With several, only what is kept goes into the frames: transients exist once.
  void place_buffers() {
    std::vector<size_t> in_frame, transient;
    for (size_t i = 0; i < buffers_.size(); ++i)
      (buffers_[i].kept || plan_.num_frames == 1 ? in_frame : transient).push_back(i);
    place_region(in_frame, ValuePlace::Where::kFrame);
    place_region(transient, ValuePlace::Where::kTransient);
  }

  void place_region(const std::vector<size_t>& members, ValuePlace::Where where) {
    std::vector<int64_t> sizes;
    for (size_t member : members) sizes.push_back(buffers_[member].bytes);
    const Packing packing = pack(sizes, [&](size_t a, size_t b) { return conflict(members[a], members[b]); });
    const bool frame = where == ValuePlace::Where::kFrame;
    (frame ? plan_.frame_bytes : plan_.transient_bytes) = packing.total;
    std::map<size_t, int64_t> offset_of;
    for (size_t i = 0; i < members.size(); ++i) {
      offset_of[members[i]] = packing.offsets[i];
      for (int copy = 0; copy < (frame ? plan_.num_frames : 1); ++copy)
        use((frame ? plan_.frame_begin(copy) : plan_.transients_begin()) + packing.offsets[i], sizes[i]);
    }
    for (size_t v = 0; v < in_buffer_.size(); ++v) {
      if (graph_.values()[v].state.valid() || !offset_of.contains(in_buffer_[v].buffer)) continue;
      plan_.values[v] = {where, offset_of[in_buffer_[v].buffer] + in_buffer_[v].offset, in_buffer_[v].row_stride};
    }
    describe_peak(members, packing.total, frame ? plan_.num_frames : 1, frame ? "activations" : "transients");
  }

  // Names what is live when most is: the lines add up to the region's size.
  void describe_peak(const std::vector<size_t>& members, int64_t total, int copies, const char* what) {
    if (total == 0) return;
    std::vector<int64_t> change(graph_.nodes().size() + 1, 0);
    const auto first = [&](size_t b) { return static_cast<size_t>(buffers_[b].accesses.front().index); };
    const auto last = [&](size_t b) { return static_cast<size_t>(buffers_[b].accesses.back().index); };
    for (size_t b : members) change[first(b)] += buffers_[b].bytes, change[last(b) + 1] -= buffers_[b].bytes;
    int64_t live = 0, most = 0;
    size_t peak = 0;
    for (size_t n = 0; n < graph_.nodes().size(); ++n)
      if ((live += change[n]) > most) most = live, peak = n;
    std::map<std::string, int64_t> by_name;
    for (size_t b : members)
      if (first(b) <= peak && peak <= last(b)) by_name[buffers_[b].name] += buffers_[b].bytes;
    std::vector<MemoryLine> lines;
    const std::string in_flight = copies > 1 ? fmt::format(" x {} in flight", copies) : "";
    for (const auto& [name, bytes] : by_name)
      lines.push_back({fmt::format("{}: {}{}", what, name, in_flight), bytes * copies});
    std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
    if (total > most) lines.push_back({fmt::format("{}: gaps between buffers", what), (total - most) * copies});
    plan_.table.insert(plan_.table.end(), lines.begin(), lines.end());
  }

  void reserve_workspace() {
    for (const Node& node : graph_.nodes())
      plan_.workspace_bytes =
          std::max(plan_.workspace_bytes,
                   round_up(node.op->workspace_bytes(graph_.input_types(node), graph_.output_types(node),
                                                     graph_.mesh(), threads_),
                            kBufferAlignment));
    use(plan_.workspace_begin(), plan_.workspace_bytes);
    plan_.table.push_back({"workspace of kernels", plan_.workspace_bytes});
  }

  void use(int64_t begin, int64_t bytes) { plan_.used.push_back({begin, begin + bytes}); }
  static size_t index(ValueId id) { return static_cast<size_t>(id.index); }

  const Graph& graph_;
  const HappensBefore order_;
  const int threads_;
  MemoryPlan plan_;
  std::vector<Buffer> buffers_;
  std::vector<InBuffer> in_buffer_;  // by value
};

}  // namespace

MemoryPlan plan_memory(const Graph& graph, const Schedule& schedule, int threads) {
  return Planner(graph, schedule, threads).run();
}

std::string print(const MemoryPlan& plan) {
  std::string text;
  for (const MemoryLine& line : plan.table)
    text +=
        fmt::format("  {:<60} {:>16} B  {:>10}\n", line.name, format_count(line.bytes), format_bytes(line.bytes));
  return text + fmt::format("  {:<60} {:>16} B  {:>10}\n", "total (peak of the arena)",
                            format_count(plan.total_bytes()), format_bytes(plan.total_bytes()));
}

}  // namespace trine
