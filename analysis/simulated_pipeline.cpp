#include "analysis/simulated_pipeline.h"

namespace trine {
namespace {

const SharedTransfer& carried(SimulatedCosts& costs, const SimulatedEdge& edge, int64_t bytes) {
  return edge.kind == kState ? costs.message(edge.from, edge.to, bytes)
                             : costs.activation(edge.from, edge.to, bytes);
}

}  // namespace

SimulatedPipeline::SimulatedPipeline(const Plan& plan, const Profile& profile, const SimulationOptions& options)
    : plan_(plan), costs_(plan, profile), profile_(profile), options_(options) {
  if (options.links) emulated_.emplace(plan, *options.links->profile);
  wake_all();
  // Other programs' collectives stand in line with kernels or wait for the host: what they meet was never compared.
  const bool stand_in_line = profile.device.host_waits > 0 || profile.device.serial_collectives > 0;
  if (emulates() || (!is_cpu() && !stand_in_line))
    shared_.emplace(plan, link_costs(), emulates() ? options.links->dilation : 1.0);
}

double SimulatedPipeline::collective_s(int pp, int node) {
  const double exchange = costs_.collective_s(pp, node);
  return emulates() ? std::max(exchange, options_.links->dilation * emulated_->collective_s(pp, node)) : exchange;
}

double SimulatedPipeline::message_s(const SimulatedEdge& edge, int64_t bytes) {
  const double exchange = carried(costs_, edge, bytes).seconds_alone();
  return emulates()
             ? std::max(exchange, options_.links->dilation * carried(*emulated_, edge, bytes).seconds_alone())
             : exchange;
}

void SimulatedPipeline::move_messages(SimulatedEdge& edge) {
  while (!edge.busy && edge.num_begun < edge.messages.size()) {
    const SimulatedMessage& next = edge.messages[edge.num_begun];
    if (!next.sent || !next.received) return;
    ++edge.num_begun;
    const double begin = std::max({*next.sent, *next.received, edge.end});
    const SharedLinks::Met* const met = shared_ ? shared_->find(carried(link_costs(), edge, next.bytes)) : nullptr;
    if (met == nullptr) {
      end_message(edge, begin + message_s(edge, next.bytes));
      continue;
    }
    edge.busy = true;
    edge.end = begin + (emulates() ? carried(costs_, edge, next.bytes).seconds_alone() : 0);  // the exchange
    shared_->begin(begin, *met, [this, &edge](double end) {
      edge.busy = false;
      end_message(edge, std::max(end, edge.end));
      move_messages(edge);
    });
  }
}

void SimulatedPipeline::end_message(SimulatedEdge& edge, double end) {
  edge.messages[edge.num_begun - 1].end = edge.end = end;
  wake(edge.from), wake(edge.to);
}

}  // namespace trine
