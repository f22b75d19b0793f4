#include "plan/printing/plan_text.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/input_file.h"
#include "base/text.h"
#include "graph/printer.h"
#include "models/llama.h"
#include "parallel/schedules/check.h"
#include "parallel/schedules/picture.h"
#include "plan/config/flag_values.h"
#include "plan/host_memory.h"
#include "plan/step_work.h"

namespace trine {
namespace {

int64_t num_layers(const StagePlan& stage) {
  int64_t layers = 0;
  for (const Stage& chunk : stage.chunks) layers += chunk.end_layer - chunk.first_layer;
  return layers;
}

// "bubble 28.1 %; (p-1)/(m+p-1) = 27.3 % for equal stages".
std::string theory_of_bubble(const Config& c) {
  const IdealBubble ideal = ideal_bubble(c.schedule, c.mesh.pp, c.vpp, c.num_microbatches());
  return fmt::format("; {} = {:.1f} % for equal stages", ideal.formula, 100 * ideal.share);
}

std::vector<ActionTimes> in_whole_units(std::vector<ActionTimes> times) {
  const auto round = [](double& time) { time = time > 0 ? std::max(1.0, std::round(time)) : 0; };
  for (ActionTimes& t : times) round(t.forward), round(t.input_grad), round(t.weight_grad);
  return times;
}

}  // namespace

std::string print_plan(const Plan& plan) {
  const Config& c = plan.config;
  std::string text = fmt::format("mesh pp={} dp={} tp={}   microbatches {} of {} x {} tokens   {} parameters\n",
                                 c.mesh.pp, c.mesh.dp, c.mesh.tp, c.num_microbatches(), c.micro_batch, c.seq,
                                 format_count(parameter_count(c.model)));
  text += fmt::format("recompute {}\n", ValueText<Recompute>::print(c.recompute));
  for (size_t rank = 0; rank < plan.stages.size(); ++rank) {
    const StagePlan& stage = plan.stages[rank];
    const int64_t on_host = host_memory(plan, rank).total_bytes();
    text += fmt::format("pp {}: {} nodes, {} states, {} planned{}\n", rank, stage.graph.nodes().size(),
                        stage.graph.states().size(), format_bytes(stage.memory.total_bytes()),
                        on_host > 0 ? fmt::format(", and {} beside it on the host", format_bytes(on_host)) : "");
    for (const PassTiming& pass : stage.passes)
      text += pass.skipped ? fmt::format("  pass {:<14} disabled\n", pass.name)
                           : fmt::format("  pass {:<14} {:>4} -> {:>4} nodes {:>8.2f} ms\n", pass.name,
                                         pass.nodes_before, pass.nodes_after, pass.seconds * 1e3);
    text += fmt::format("  {:.1f} GFLOP a step\n  schedule {}\n",
                        step_work(stage, c.num_microbatches()).flops * 1e-9, to_string(stage.schedule));
  }
  return text;
}

std::string print_memory(const Plan& plan) {
  std::string text = fmt::format("recompute {}\n{:>7} {:>7} {:>17} {:>21} {:>12}\n",
                                 ValueText<Recompute>::print(plan.config.recompute), "pp rank", "layers",
                                 "parameters", "memory of a rank", "");
  for (size_t rank = 0; rank < plan.stages.size(); ++rank) {
    const StagePlan& stage = plan.stages[rank];
    const int64_t bytes = stage.memory.total_bytes();
    text += fmt::format("{:>7} {:>7} {:>17} {:>19} B {:>12}\n", rank, num_layers(stage),
                        format_count(num_parameters(stage)), format_count(bytes), format_bytes(bytes));
  }
  for (size_t rank = 0; rank < plan.stages.size(); ++rank) {
    text +=
        fmt::format("pp {}: a rank with the largest shards; name, buffers x microbatches in flight, bytes\n{}{}",
                    rank, print(plan.stages[rank].memory), print(host_memory(plan, rank)));
    text += "  outside the plan: libraries, stacks, mapped files (measured after the first step)\n";
  }
  return text;
}

std::string print_graph(const Plan& plan) {
  std::string text;
  for (size_t rank = 0; rank < plan.stages.size(); ++rank)
    text += fmt::format("pp {}\n{}", rank, print(plan.stages[rank].graph));
  return text;
}

std::string print_schedule(const Plan& plan) {
  const Config& c = plan.config;
  const std::vector<Schedule> list = schedules(plan);
  const std::vector<ActionTimes> times = action_times(plan);
  std::string text =
      fmt::format("{}: pp {}, vpp {}, {} microbatches: bubble {:.1f} %{}\n", name(c.schedule), c.mesh.pp, c.vpp,
                  c.num_microbatches(), 100 * bubble_fraction(list, times), theory_of_bubble(c));
  text += "a cell is the cheapest stage's forward; actions are rounded to cells, the bubble is not\n";
  text += schedule_rows(list, in_whole_units(times));
  for (size_t rank = 0; rank < list.size(); ++rank)
    text += fmt::format("rank {}, {} in flight: {}\n", rank, max_in_flight(list[rank]), to_string(list[rank]));
  return text;
}

void print_program(const Plan& plan, std::ostream& out) {
  const bool on_device = may_talk_on_device(plan.config);
  for (size_t rank = 0; rank < plan.stages.size(); ++rank) {
    out << fmt::format("pp {}: command, node, op, microbatch{}\n", rank,
                       on_device ? "; messages go from device to device" : "");
    print(step_program(plan.stages[rank], StepMode::kTrain, on_device), out);
  }
}

std::string schedule_picture(const Plan& plan) {
  return schedule_svg(schedules(plan), action_times(plan), theory_of_bubble(plan.config));
}

std::filesystem::path schedule_picture_path(const Config& config) {
  return (std::filesystem::path(config.out) / "schedule.svg").lexically_normal();
}

namespace {

// A picture from before may be replaced, anything else of that name may not.
void require_own_picture(const std::filesystem::path& path) {
  if (is_taken(path) && beginning_of(path, 512).find("<title>pp ") == std::string::npos)
    throw ConfigError(fmt::format(
        "[flags] {} is no picture of a schedule: it is not replaced. Choose another --out.", path.string()));
}

}  // namespace

void print_report(const Plan& plan, std::ostream& out) {
  const Config& c = plan.config;
  if (c.print_graph) out << print_graph(plan);
  if (c.print_memory) out << print_memory(plan);
  if (c.print_plan) out << print_plan(plan);
  if (c.print_program) print_program(plan, out);
  if (c.print_schedule) {
    const std::filesystem::path path = schedule_picture_path(c);
    std::error_code ignored;  // the file's own error says it
    std::filesystem::create_directories(path.parent_path(), ignored);
    require_own_picture(path);
    AtomicFile file(path);
    file.write(schedule_picture(plan));
    file.commit();
    out << print_schedule(plan) << "picture: " << path.string() << '\n';
  }
  if (c.dry_run) {
    out << (c.json ? dry_run_json(plan).dump(2) + "\n" : print_dry_run(plan));
  } else {
    for (const std::string& warning : plan.warnings) out << "warning: " << warning << '\n';
  }
}

}  // namespace trine
