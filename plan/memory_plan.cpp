#include "plan/memory_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "plan/happens_before.h"
#include "plan/packing.h"

namespace trine {
namespace {

enum class Kind { kTransient, kKept, kReceived, kSent };

// Bytes that one or several values share: an output, outputs side by side, and all that is written over them.
struct Buffer {
  int64_t bytes = 0;
  std::vector<NodeId> accesses;
  Kind kind = Kind::kTransient;
  std::string name;
};

struct InBuffer {
  size_t buffer = 0;
  int64_t offset = 0, row_stride = 0;
};

// Runs in the same action (forward, input gradient, weight gradient) of one microbatch.
bool same_action(const Node& a, const Node& b) {
  return a.region == b.region && a.phase == b.phase && a.chunk == b.chunk;
}

struct Interval {
  int begin = 0, end = 0;  // actions, both included
};

// Slots by microbatch, such that intervals of one slot do not meet.
std::vector<int> assign_slots(const std::vector<Interval>& intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return intervals[a].begin < intervals[b].begin; });
  std::vector<int> slots(intervals.size()), busy_until;
  for (const size_t i : order) {
    const auto free =
        std::find_if(busy_until.begin(), busy_until.end(), [&](int end) { return end < intervals[i].begin; });
    slots[i] = static_cast<int>(free - busy_until.begin());
    if (free == busy_until.end())
      busy_until.push_back(intervals[i].end);
    else
      *free = intervals[i].end;
  }
  return slots;
}

class Planner {
 public:
  Planner(const Graph& graph, const Schedule& schedule, const Target& target, int send_slots)
      : graph_(graph),
        schedule_(schedule),
        order_(graph),
        target_(target),
        send_slots_(send_slots),
        in_buffer_(graph.values().size()) {
    plan_.device = target.device;
    plan_.values.resize(graph.values().size());
    for (const Action& action : schedule) num_microbatches_ = std::max(num_microbatches_, action.microbatch + 1);
    for (const Node& node : graph.nodes()) num_chunks_ = std::max(num_chunks_, node.chunk + 1);
  }

  MemoryPlan run() {
    place_states();
    make_buffers();
    double together = 0;
    for (const Buffer& buffer : buffers_) together += static_cast<double>(buffer.bytes);
    refuse_more_than_counts(together);
    place_buffers();
    reserve_workspace();
    return std::move(plan_);
  }

 private:
  // Far more than any machine has, and far from where 64 bits end.
  static void refuse_more_than_counts(double bytes) {
    if (bytes > 0x1p60)
      throw ConfigError(
          fmt::format("[memory] the plan needs {:.3g} bytes per rank; it can be 2^60 at most. Lower "
                      "--micro-batch or --seq, or make the model smaller.",
                      bytes));
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
    static const std::map<StateRole, std::pair<const char*, const char*>> names = {
        {StateRole::kParameter, {"weights", "weights (compute copy)"}},
        {StateRole::kGradient, {"gradients", "gradients (accumulated)"}},
        {StateRole::kMaster, {"Adam", "Adam: master weights"}},
        {StateRole::kMomentum, {"Adam", "Adam: momentum"}},
        {StateRole::kVariance, {"Adam", "Adam: variance"}},
        {StateRole::kBatch, {"step", "samples of a step"}},
        {StateRole::kScalar, {"step", "step scalars"}},
        {StateRole::kCache, {"step", "caches"}},
        {StateRole::kBuffer, {"step", "received states"}}};
    for (const auto& [role, bytes] : bytes_by_role)
      plan_.table.push_back({names.at(role).first, names.at(role).second, bytes});
  }

  int64_t state_offset(StateId id) const {  // a view may lie in a view (a tied head in an embedding in a bucket)
    const State& state = graph_[id];
    if (!state.storage.valid()) return plan_.state_offsets[static_cast<size_t>(id.index)];
    return state_offset(state.storage) + state.offset * static_cast<int64_t>(size_bytes(state.type.dtype));
  }

  // The bytes of a value whose bytes they are already.
  void share(ValueId value, ValueId of) { in_buffer_[index(value)] = in_buffer_[index(of)]; }

  void make_buffers() {
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      const Node& node = graph_.nodes()[n];
      const NodeId id{static_cast<int32_t>(n)};
      std::vector<bool> done(node.outputs.size(), false);
      for (const InPlace& alias : node.in_place) {
        share(node.outputs[static_cast<size_t>(alias.output)], node.inputs[static_cast<size_t>(alias.input)]);
        done[static_cast<size_t>(alias.output)] = true;
      }
      if (node.op->is_view()) {
        share(node.outputs[0], node.inputs[0]);
        done[0] = true;
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
    buffers_.push_back({round_up(std::max<int64_t>(bytes, 1), kBufferAlignment),
                        {},
                        node.op->is_transfer() ? Kind::kReceived : Kind::kTransient,
                        buffer_name(node, value)});
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
    buffers_.push_back({round_up(rows * columns * element, kBufferAlignment),
                        {},
                        Kind::kTransient,
                        buffer_name(node, node.outputs[0])});
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

  void access(ValueId value, NodeId id) {
    Buffer& buffer = buffers_[in_buffer_[index(value)].buffer];
    const bool here = buffer.accesses.empty() || same_action(graph_[buffer.accesses[0]], graph_[id]);
    if (graph_[id].op->is_transfer() && !graph_[id].inputs.empty()) {
      TRINE_CHECK(buffer.kind == Kind::kTransient && here, "{} is sent, and kept or received as well", buffer.name);
      buffer.kind = Kind::kSent;
    } else if (!here) {
      TRINE_CHECK(buffer.kind != Kind::kSent, "{} is sent, and read by a later action", buffer.name);
      if (buffer.kind == Kind::kTransient) buffer.kind = Kind::kKept;
    }
    buffer.accesses.push_back(id);
  }

  bool conflict(size_t a, size_t b) const {
    const std::vector<NodeId>&x = buffers_[a].accesses, &y = buffers_[b].accesses;
    if (graph_[x[0]].region != graph_[y[0]].region) return false;
    return !order_.all_before(x, y) && !order_.all_before(y, x);
  }

  int chunk_of(const Buffer& buffer) const { return graph_[buffer.accesses[0]].chunk; }

  // The actions of each microbatch, in the order of the schedule, that run `phase` of a chunk.
  std::vector<int> actions_of(int chunk, Phase phase) const {
    std::vector<int> actions(static_cast<size_t>(num_microbatches_), -1);
    for (size_t i = 0; i < schedule_.size(); ++i) {
      const Action& action = schedule_[i];
      if (action.stage / graph_.mesh().pp != chunk) continue;
      const bool runs = phase == Phase::kForward ? action.kind == ActionKind::kForward
                        : phase == Phase::kInputGrad
                            ? action.kind == ActionKind::kInputGrad || action.kind == ActionKind::kBackward
                            : action.kind == ActionKind::kWeightGrad || action.kind == ActionKind::kBackward;
      if (runs) actions[static_cast<size_t>(action.microbatch)] = static_cast<int>(i);
    }
    return actions;
  }

  // The first and the last phase that accesses them.
  std::pair<Phase, Phase> span_of(const std::vector<size_t>& members) const {
    Phase first = Phase::kWeightGrad, last = Phase::kForward;
    for (const size_t member : members)
      for (const NodeId id : buffers_[member].accesses)
        first = std::min(first, graph_[id].phase), last = std::max(last, graph_[id].phase);
    return {first, last};
  }

  // From which action to which each microbatch needs these buffers of a chunk; `ahead` actions earlier for what is
  // posted then.
  std::vector<Interval> lifetimes(const std::vector<size_t>& members, int chunk, int ahead) const {
    const auto [first, last] = span_of(members);
    const std::vector<int> begins = actions_of(chunk, first), ends = actions_of(chunk, last);
    std::vector<Interval> intervals;
    for (size_t m = 0; m < begins.size(); ++m) intervals.push_back({std::max(0, begins[m] - ahead), ends[m]});
    return intervals;
  }

  void place_buffers() {
    for (int chunk = 0; chunk < num_chunks_; ++chunk) {
      const std::vector<size_t> kept = select(Kind::kKept, chunk);
      if (kept.empty()) continue;
      std::vector<int> slots = assign_slots(lifetimes(kept, chunk, 0));
      const bool one = num_chunks_ == 1 && *std::max_element(slots.begin(), slots.end()) == 0;
      if (one) return place_as_one(kept);
      // Where backward is split, what only I or only W needs has slots for as many microbatches as wait for that.
      std::map<std::pair<Phase, Phase>, std::vector<size_t>> by_span;
      for (const size_t buffer : kept) by_span[span_of({buffer})].push_back(buffer);
      for (const auto& [span, members] : by_span)
        add_pool("activations", members, assign_slots(lifetimes(members, chunk, 0)));
    }
    for (size_t i = 0; i < buffers_.size(); ++i)
      if (buffers_[i].kind == Kind::kReceived)
        add_pool("received", {i}, assign_slots(lifetimes({i}, chunk_of(buffers_[i]), 1)));
    for (size_t i = 0; i < buffers_.size(); ++i)
      if (buffers_[i].kind == Kind::kSent) add_pool("sent", {i}, in_turn(buffers_[i]));
    add_pool("transients", select(Kind::kTransient, -1), {});
  }

  // With one microbatch in flight it runs forward and backward before the next one begins: what is kept and what is
  // not may share bytes.
  void place_as_one(std::vector<size_t> members) {
    for (size_t i = 0; i < buffers_.size(); ++i) {
      if (buffers_[i].kind == Kind::kTransient) members.push_back(i);
      if (buffers_[i].kind == Kind::kReceived)
        add_pool("received", {i}, assign_slots(lifetimes({i}, chunk_of(buffers_[i]), 1)));
      if (buffers_[i].kind == Kind::kSent) add_pool("sent", {i}, in_turn(buffers_[i]));
    }
    std::sort(members.begin(), members.end());
    add_pool("activations", members, {});
  }

  std::vector<size_t> select(Kind kind, int chunk) const {
    std::vector<size_t> members;
    for (size_t i = 0; i < buffers_.size(); ++i)
      if (buffers_[i].kind == kind && (chunk < 0 || chunk_of(buffers_[i]) == chunk)) members.push_back(i);
    return members;
  }

  // The slots of a sent value, one after another in the order of the sends.
  std::vector<int> in_turn(const Buffer& buffer) const {
    const Node& node = graph_[buffer.accesses[0]];
    const std::vector<int> actions = actions_of(node.chunk, node.phase);
    std::vector<size_t> order(actions.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return actions[a] < actions[b]; });
    std::vector<int> slots(actions.size());
    for (size_t k = 0; k < order.size(); ++k) slots[order[k]] = static_cast<int>(k) % send_slots_;
    return slots;
  }

  void add_pool(const std::string& name, const std::vector<size_t>& members, std::vector<int> slots) {
    if (members.empty()) return;
    std::vector<int64_t> sizes;
    for (size_t member : members) sizes.push_back(buffers_[member].bytes);
    const Packing packing = pack(sizes, [&](size_t a, size_t b) { return conflict(members[a], members[b]); });
    Pool pool{.name = name, .begin = plan_.workspace_begin(), .slot_bytes = packing.total};
    if (!slots.empty()) pool.num_slots = *std::max_element(slots.begin(), slots.end()) + 1;
    pool.slot_of_microbatch = std::move(slots);
    refuse_more_than_counts(static_cast<double>(pool.begin) +
                            static_cast<double>(pool.slot_bytes) * pool.num_slots);

    std::map<size_t, int64_t> offset_of;
    for (size_t i = 0; i < members.size(); ++i) {
      offset_of[members[i]] = packing.offsets[i];
      for (int slot = 0; slot < pool.num_slots; ++slot)
        use(pool.begin + slot * pool.slot_bytes + packing.offsets[i], sizes[i]);
    }
    for (size_t v = 0; v < in_buffer_.size(); ++v) {
      if (graph_.values()[v].state.valid() || !offset_of.contains(in_buffer_[v].buffer)) continue;
      plan_.values[v] = {static_cast<int>(plan_.pools.size()),
                         offset_of[in_buffer_[v].buffer] + in_buffer_[v].offset, in_buffer_[v].row_stride};
    }
    describe_peak(members, pool);
    plan_.pools.push_back(std::move(pool));
  }

  // Names what is live when most is: the lines add up to the pool's size.
  void describe_peak(const std::vector<size_t>& members, const Pool& pool) {
    if (pool.slot_bytes == 0) return;
    std::vector<int64_t> change(graph_.nodes().size() + 1, 0);
    const auto first = [&](size_t b) { return static_cast<size_t>(buffers_[b].accesses.front().index); };
    const auto last = [&](size_t b) { return static_cast<size_t>(buffers_[b].accesses.back().index); };
    for (size_t b : members) change[first(b)] += buffers_[b].bytes, change[last(b) + 1] -= buffers_[b].bytes;
    int64_t live = 0, most = 0;
    size_t peak = 0;
    for (size_t n = 0; n < graph_.nodes().size(); ++n)
      if ((live += change[n]) > most) most = live, peak = n;
    std::map<std::string, MemoryLine> by_name;
    for (size_t b : members) {
      if (first(b) > peak || peak > last(b)) continue;
      MemoryLine& line = by_name.try_emplace(buffers_[b].name, MemoryLine{.buffers = 0}).first->second;
      line.bytes += buffers_[b].bytes * pool.num_slots;
      ++line.buffers;
    }
    std::vector<MemoryLine> lines;
    for (const auto& [name, line] : by_name)
      lines.push_back(
          {pool.name, fmt::format("{}: {}", pool.name, name), line.bytes, line.buffers, pool.num_slots});
    std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
    if (pool.slot_bytes > most)
      lines.push_back({pool.name, fmt::format("{}: gaps between buffers", pool.name),
                       (pool.slot_bytes - most) * pool.num_slots, 1, pool.num_slots});
    for (MemoryLine& line : lines) add_line(std::move(line));
  }

  // Chunks have pools of their own, but share lines where as many microbatches are in flight.
  void add_line(MemoryLine line) {
    for (MemoryLine& other : plan_.table)
      if (other.name == line.name && other.in_flight == line.in_flight) {
        other.bytes += line.bytes, other.buffers += line.buffers;
        return;
      }
    plan_.table.push_back(std::move(line));
  }

  void reserve_workspace() {
    for (const Node& node : graph_.nodes())
      plan_.workspace_bytes = std::max(
          plan_.workspace_bytes,
          round_up(
              node.op->workspace_bytes(graph_.input_types(node), graph_.output_types(node), graph_.mesh(), target_),
              kBufferAlignment));
    use(plan_.workspace_begin(), plan_.workspace_bytes);
    plan_.table.push_back({"workspace", "workspace of kernels", plan_.workspace_bytes});
  }

  void use(int64_t begin, int64_t bytes) { plan_.used.push_back({begin, begin + bytes}); }
  static size_t index(ValueId id) { return static_cast<size_t>(id.index); }

  const Graph& graph_;
  const Schedule& schedule_;
  const HappensBefore order_;
  const Target target_;
  const int send_slots_;
  int num_microbatches_ = 0, num_chunks_ = 1;
  MemoryPlan plan_;
  std::vector<Buffer> buffers_;
  std::vector<InBuffer> in_buffer_;  // by value
};

}  // namespace

MemoryPlan plan_memory(const Graph& graph, const Schedule& schedule, const Target& target, int send_slots) {
  return Planner(graph, schedule, target, send_slots).run();
}

std::vector<SendWait> waits_for_send_slots(const Graph& graph, const Schedule& schedule, const MemoryPlan& plan,
                                           int rank) {
  std::vector<SendWait> waits;
  for (const Node& node : graph.nodes()) {
    if (!node.op->is_transfer() || node.inputs.empty()) continue;
    const Pool& pool = plan.pools[static_cast<size_t>(plan.values[static_cast<size_t>(node.inputs[0].index)].pool)];
    std::vector<int> last(static_cast<size_t>(pool.num_slots), -1);  // by slot, the action that sent from it
    for (int i = 0; i < static_cast<int>(schedule.size()); ++i) {
      const Action& action = schedule[static_cast<size_t>(i)];
      const bool sends = node.phase == Phase::kForward
                             ? action.kind == ActionKind::kForward
                             : action.kind == ActionKind::kBackward || action.kind == ActionKind::kInputGrad;
      if (!sends || action.stage / graph.mesh().pp != node.chunk) continue;
      int& before = last[static_cast<size_t>(pool.slot(action.microbatch))];
      if (before >= 0) waits.push_back({rank, i, before});
      before = i;
    }
  }
  return waits;
}

std::string print(const MemoryPlan& plan) {
  std::string text;
  const auto add = [&](const std::string& name, const std::string& times, int64_t bytes) {
    text +=
        fmt::format("  {:<46} {:>15} {:>17} B  {:>10}\n", name, times, format_count(bytes), format_bytes(bytes));
  };
  for (const MemoryLine& line : plan.table) {
    std::string times = line.buffers > 1 ? fmt::format("{}", line.buffers) : "";
    if (line.in_flight > 1) times += fmt::format("{}{} in flight", times.empty() ? "" : " x ", line.in_flight);
    add(line.name, times, line.bytes);
  }
  add("total (peak of the arena)", "", plan.total_bytes());
  return text;
}

}  // namespace trine
