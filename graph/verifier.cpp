#include "graph/verifier.h"

#include "graph/builder.h"
#include "graph/printer.h"

namespace trine {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph), last_use_(graph.last_uses()) {}

  void run() {
    for (at_ = 0; at_ < graph_.nodes().size(); ++at_) {
      const Node& node = graph_.nodes()[at_];
      try {
        check_order(node);
        check_inputs(node);
        check_types(node);
        check_in_place(node);
      } catch (const TypeError& error) {
        throw TypeError(fmt::format("[graph] {}\n{}", error.what(), print_around(graph_, at_)));
      }
    }
    for (const GradientPair& pair : graph_.gradients()) check_gradient(pair);
  }

 private:
  void check_order(const Node& node) const {
    if (at_ == 0) return;
    const Node& before = graph_.nodes()[at_ - 1];
    require(before.region <= node.region, "{} after {}", name(node.region), name(before.region));
    if (before.region == Region::kMicrobatch && node.region == Region::kMicrobatch)
      require(before.phase <= node.phase, "phase {} after phase {}", letter(node.phase), letter(before.phase));
  }

  void check_inputs(const Node& node) const {
    for (ValueId input : node.inputs) {
      require(input.valid() && static_cast<size_t>(input.index) < graph_.values().size(), "an operand is missing");
      const Value& value = graph_[input];
      if (value.state.valid()) continue;
      require(value.producer.valid() && static_cast<size_t>(value.producer.index) < at_,
              "%{} is used before it is defined", input.index);
      require(graph_[value.producer].region == node.region, "%{} is a value of the {}; only states cross regions",
              input.index, name(graph_[value.producer].region));
    }
  }

  void check_types(const Node& node) const {
    for (ValueId output : node.outputs)
      require(graph_[output].producer.index == static_cast<int>(at_), "%{} names another node as its producer",
              output.index);
    const Types have = graph_.output_types(node);
    const Types want = infer_types(*node.op, graph_.input_types(node), graph_.mesh());
    require(have.size() == want.size(), "{} outputs and written states, the op has {}", have.size(), want.size());
    for (size_t i = 0; i < have.size(); ++i)
      if (have[i] != want[i])  // words are made only then: every node comes here after every pass
        require(false, "operand {} of the result is {}, the op gives {}", i, have[i], want[i]);
  }

  void check_in_place(const Node& node) const {
    for (const InPlace& alias : node.in_place) {
      bool allowed = false;
      for (const InPlace& offer : node.op->in_place())
        allowed |= offer.output == alias.output && offer.input == alias.input;
      require(allowed, "{} does not write output {} over input {}", node.op->name(), alias.output, alias.input);
      const ValueId input = node.inputs.at(static_cast<size_t>(alias.input));
      require(!graph_[input].state.valid(), "an output may not overwrite state {}", graph_[input].name);
      require(last_use_[static_cast<size_t>(input.index)] == static_cast<int>(at_),
              "%{} is overwritten here but read later", input.index);
    }
  }

  void check_gradient(const GradientPair& pair) const {
    const TensorType &value = graph_[pair.value].type, &gradient = graph_[pair.gradient].type;
    const NodeId producer = graph_[pair.gradient].producer;
    const auto fail = [&](const std::string& what) {
      const std::string around =
          producer.valid() ? "\n" + print_around(graph_, static_cast<size_t>(producer.index)) : std::string();
      throw TypeError(fmt::format("[graph] {}: the value is {}, its gradient {}{}", what, to_string(value),
                                  to_string(gradient), around));
    };
    if (value.shape != gradient.shape) fail("a gradient has another shape than its value");
    for (Axis axis : kAxes)
      if (gradient.on(axis) != dual(value.on(axis)))
        fail(fmt::format("a gradient must have placement {} on {} (a collective is missing)",
                         to_string(dual(value.on(axis))), name(axis)));
  }

  const Graph& graph_;
  const std::vector<int> last_use_;
  size_t at_ = 0;
};

}  // namespace

void verify(const Graph& graph) { Verifier(graph).run(); }

}  // namespace trine
