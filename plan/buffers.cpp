#include "plan/buffers.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

#include "base/error.h"
#include "plan/memory_plan.h"

namespace trine {
namespace {

// Runs in the same action (forward, input gradient, weight gradient) of one microbatch.
bool same_action(const Node& a, const Node& b) {
  return a.region == b.region && a.phase == b.phase && a.chunk == b.chunk;
}

class Maker {
 public:
  explicit Maker(const Graph& graph) : graph_(graph) { made_.of_value.resize(graph.values().size()); }

  Buffers run() {
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
    return std::move(made_);
  }

 private:
  // The bytes of a value whose bytes they are already.
  void share(ValueId value, ValueId of) { made_.of_value[index(value)] = made_.of_value[index(of)]; }

  void own_buffer(const Node& node, ValueId value) {
    const Shape shape = local_shape(graph_[value].type, graph_.mesh());
    made_.of_value[index(value)] = {made_.all.size(), 0, shape.num_columns()};
    const int64_t bytes = shape.num_elements() * static_cast<int64_t>(size_bytes(graph_[value].type.dtype));
    made_.all.push_back({round_up(std::max<int64_t>(bytes, 1), kBufferAlignment),
                         {},
                         node.op->is_transfer() ? BufferKind::kReceived : BufferKind::kTransient,
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
      made_.of_value[index(node.outputs[i])] = {made_.all.size(), column * element, columns};
      column += local_shape(graph_[node.outputs[i]].type, graph_.mesh()).num_columns();
      done[i] = true;
    }
    made_.all.push_back({round_up(rows * columns * element, kBufferAlignment),
                         {},
                         BufferKind::kTransient,
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
    Buffer& buffer = made_.all[made_.of_value[index(value)].buffer];
    const bool here = buffer.accesses.empty() || same_action(graph_[buffer.accesses[0]], graph_[id]);
    if (graph_[id].op->is_transfer() && !graph_[id].inputs.empty()) {
      TRINE_CHECK(buffer.kind == BufferKind::kTransient && here, "{} is sent, and kept or received as well",
                  buffer.name);
      buffer.kind = BufferKind::kSent;
    } else if (!here) {
      TRINE_CHECK(buffer.kind != BufferKind::kSent, "{} is sent, and read by a later action", buffer.name);
      if (buffer.kind == BufferKind::kTransient) buffer.kind = BufferKind::kKept;
    }
    buffer.accesses.push_back(id);
  }

  static size_t index(ValueId id) { return static_cast<size_t>(id.index); }

  const Graph& graph_;
  Buffers made_;
};

}  // namespace

Buffers make_buffers(const Graph& graph) { return Maker(graph).run(); }

}  // namespace trine
