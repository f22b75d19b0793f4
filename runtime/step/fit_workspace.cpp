#include "runtime/step/fit_workspace.h"

#include <set>

#include "runtime/step/instructions.h"

namespace trine {
namespace {

// What a kernel is made from: its op, and its operands' shapes and places beside each other. Layers are alike.
std::string key_of(const Op& op, std::span<const TensorView> views) {
  Attributes attributes;
  op.describe(attributes);
  std::string key(op.name());
  for (const auto& [name, value] : attributes.list()) key += fmt::format(" {}={}", name, value);
  for (size_t i = 0; i < views.size(); ++i) {
    const TensorView& v = views[i];
    key += fmt::format(" {} {} {} {} {}", trine::name(v.dtype), v.rows, v.columns, v.row_stride,
                       i == 0 ? 0 : v.data - views[i - 1].data);
  }
  return key;
}

int64_t workspace_used(const StagePlan& stage, const Config& config, Coordinate coordinate, const Backend& backend,
                       std::set<std::string>& known) {
  // Nothing is read or written there: kernels are made from shapes and places.
  const Operands operands(stage, coordinate, reinterpret_cast<std::byte*>(uintptr_t{1} << 21));
  int64_t used = 0;
  for (const Node& node : stage.graph.nodes()) {
    if (node.lane != Lane::kCompute) continue;
    const Types inputs = stage.graph.input_types(node), outputs = stage.graph.output_types(node);
    if (node.op->workspace_bytes(inputs, outputs, stage.graph.mesh(), {config.device, config.threads}) == 0)
      continue;
    std::vector<TensorView> views;
    for (const Operand& operand : operands.of(node)) views.push_back(operand.view);
    if (!known.insert(key_of(*node.op, views)).second) continue;
    KernelRequest request{*node.op,
                          std::span(views).first(node.inputs.size()),
                          std::span(views).subspan(node.inputs.size()),
                          stage.graph.mesh(),
                          coordinate,
                          config.threads,
                          stage.memory.workspace_bytes,
                          inputs,
                          outputs};
    request.workspace_used = &used;
    backend.kernels().make(request);
  }
  return used;
}

}  // namespace

void fit_workspace(Plan& plan, const Backend& backend) {
  if (plan.config.device != DeviceKind::kCpu) return;
  for (StagePlan& stage : plan.stages) {
    std::set<std::string> known;
    int64_t used = 0;
    // Shards of tp ranks may differ; those of dp ranks do not, in kernels that use a workspace.
    for (int tp = 0; tp < plan.config.mesh.tp; ++tp)
      used = std::max(
          used, workspace_used(stage, plan.config, {.pp = stage.chunks.front().index, .tp = tp}, backend, known));
    stage.memory.set_workspace(used);
  }
}

}  // namespace trine
