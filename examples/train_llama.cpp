// train_llama: from the command line to a trained model. The story:
// connect -> flags -> Config -> Plan -> agree -> Trainer.
#include <atomic>
#include <ctime>
#include <fmt/core.h>
#include <iostream>
#include <optional>
#include <sstream>

#include "analysis/link_emulation.h"
#include "analysis/planner/layout_hint.h"
#include "analysis/planner/planner.h"
#include "analysis/prediction_report.h"
#include "analysis/rehearsed_device.h"
#include "base/program.h"
#include "base/text.h"
#include "checkpoint/hash.h"
#include "checkpoint/resume_point.h"
#include "comm/clock.h"
#include "comm/cores.h"
#include "comm/local/local_ranks.h"
#include "examples/link_emulation.h"
#include "examples/version.h"
#include "graph/printer.h"
#include "models/llama_config.h"
#include "plan/config/flag_values.h"
#include "plan/config/flags.h"
#include "plan/config/layouts.h"
#include "plan/plan.h"
#include "plan/printing/layout_grid.h"
#include "plan/printing/plan_text.h"
#include "runtime/device/devices.h"
#include "runtime/failure/failure_report.h"
#include "runtime/failure/failure_watch.h"
#include "runtime/generation/model_folder.h"
#include "runtime/job/agreement.h"
#include "runtime/job/connection.h"
#include "runtime/job/run_start.h"
#include "runtime/measure/doctor.h"
#include "runtime/step/fit_workspace.h"
#include "runtime/training/job_peak.h"
#include "runtime/training/rehearsed.h"
#include "runtime/training/saver.h"
#include "runtime/training/trainer.h"

namespace trine {
namespace {

std::string time_stamp() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", std::localtime(&now));
  return text;
}

std::string layout_features(const Config& config) {
  std::string text;
  if (config.mesh.pp > 1) text += fmt::format(", schedule {}", name(config.schedule));
  if (config.vpp > 1) text += fmt::format(" x {}", config.vpp);
  if (config.mesh.tp > 1) text += config.sequence_parallel ? ", sequence parallel" : "";
  if (config.mesh.dp > 1) text += config.zero > 0 ? ", ZeRO-1" : "";
  if (config.recompute.kind != Recompute::Kind::kNone)
    text += ", recompute " + ValueText<Recompute>::print(config.recompute);
  return text;
}

void greet(const Plan& plan, Log& log) {
  const Config& config = plan.config;
  const LlamaConfig& m = config.model;
  log.info(fmt::format("model  {}: {} parameters ({} layers, hidden {}, {} / {} heads of {}, ffn {}, vocab {}{})",
                       config.model_name, format_count(parameter_count(m)), m.layers, m.hidden, m.heads, m.kv_heads,
                       m.head_dim, m.ffn, m.vocab, m.tie_embeddings ? ", tied" : ""));
  const std::string layout = fmt::format(
      "layout pp {} x dp {} x tp {}, {} thread{} per rank{}; {} steps of {} x {} tokens in {} microbatch{}, {}",
      config.mesh.pp, config.mesh.dp, config.mesh.tp, config.threads, config.threads == 1 ? "" : "s",
      layout_features(config), config.steps, config.global_batch, config.seq, config.num_microbatches(),
      config.num_microbatches() == 1 ? "" : "es", name(config.dtype));
  log.info(layout);
}

void show_layout(const Config& config, const std::vector<std::string>& hosts, Log& log) {
  const std::string grid = layout_grid(config.mesh, hosts);
  if (config.mesh.num_ranks() > 1) log.info(std::string_view(grid).substr(0, grid.size() - 1));
  for (const std::string& warning : layout_warnings(config)) log.warn(warning);
  for (const std::string& warning : host_warnings(config.mesh, hosts)) log.warn(warning);
}

ExitCode evaluate_only(Trainer& trainer, Log& log) {
  if (!trainer.has_validation())
    throw AgreedError(ExitCode::kConfig,
                      "[--eval-only] there is no validation data. Pass --valid-data, or "
                      "--valid-fraction with --data.");
  log.info(fmt::format("validation loss {:.6f}", trainer.validate()));
  return ExitCode::kOk;
}

// What ends a job of several processes when one of them fails.
struct Watch {
  std::optional<StatusWriter> status;
  std::optional<FailureWatch> failures;

  Watch(const RunFolder& folder, uint64_t run, CommWorld& world, bool takes_signals) {
    Communicator& all = world[Group::kWorld];
    run_agreed(&all, [&] { status.emplace(folder.path(), all.rank(), all.size(), run); });
    status->observe(world);
    all.barrier();
    failures.emplace(*status, takes_signals);
  }
};

// The folder of the run, and who looks after its ranks there; nothing of it where a run only evaluates.
struct Surroundings {
  std::optional<RunStart> run;
  std::optional<Watch> watch;

  Surroundings(const Config& config, CommLanes* lanes, const MpiSession* session, const StopSignal& stop) {
    if (config.eval_only) return;
    run.emplace(config, lanes ? &lanes->world()[Group::kWorld] : nullptr);
    if (session) watch.emplace(run->folder(), run->number(), lanes->world(), !stop.takes_sigterm());
  }
  StatusWriter* status() { return watch ? &*watch->status : nullptr; }
};

constexpr double kHintWithin_s = 0.7;

// What MFU will be a share of, and whether another layout would be better on a machine that was measured; only the
// first rank prints any.
std::optional<JobPeak> told_peak(const Plan& plan, const RunFolder& folder, const std::string& device, Log& log) {
  const FoundPeak found = find_peak(plan.config, folder.path(), device, cpu_name());
  if (!found.warning.empty()) log.warn(found.warning);
  if (found.peak)
    log.info(
        fmt::format("peak   {:.3g} TFLOP/s per rank ({}); MFU is the share of it that the model's arithmetic "
                    "takes",
                    found.peak->flops_per_s * 1e-12, found.peak->source));
  if (found.measured)
    if (const auto hint = layout_hint(plan, *found.measured, found.peak->source, kHintWithin_s))
      log.info("hint   " + *hint);
  return found.peak;
}

ExitCode train(Trainer& trainer, const Plan& plan, Surroundings& around, Communicator* world, StopSignal& stop,
               Log& log) {
  const RunFolder& folder = around.run->folder();
  const bool first = world == nullptr || world->rank() == 0;
  around.run->write_config();
  if (first) log.open(folder.log());
  log.info(fmt::format("run    {}", folder.path().string()));
  if (first) stop.watch_file(folder.stop_file());
  MetricsHeader header{version_number(), version_commit(), plan.config.mesh, plan.config.model_name,
                       parameter_count(plan.config.model)};
  header.modelled = modelled_time(plan.config);
  if (first) header.peak = told_peak(plan, folder, trainer.device(), log);
  const TrainingEnd end = trainer.train(folder, header, &stop, around.status());
  if (first) stop.hold();
  if (!end.stop_reason.empty())
    log.info(
        fmt::format("stopped after the step: {}. {}", end.stop_reason,
                    end.saved ? "It is saved: --resume goes on." : "Nothing was saved (--save-interval does)."));
  if (end.output_failed || end.save_failed) {
    if (first)
      log.fail(end.save_failed ? "[checkpoint] the last save failed: see the warning above."
                               : "[run folder] metrics or trace are incomplete: see the warning above.");
    return ExitCode::kData;
  }
  return end.saved ? ExitCode::kStopped : ExitCode::kOk;
}

// What all ranks must have resolved alike. Hosts may have their files under other names, and their own threads:
// what is in the files counts.
Facts facts_of(const Plan& plan) {
  Facts facts = {{"the program", version_number() + ", commit " + version_commit()}};
  const nlohmann::ordered_json config = to_json(plan.config);
  for (const auto& [flag, value] : config.items()) {
    const bool of_host =
        flag == "threads" || flag == "model" || flag == "data" || flag == "valid-data" || flag == "tokenizer";
    if (!of_host) facts.emplace_back("--" + flag, value.dump());
  }
  facts.emplace_back("the run to go on with", plan.config.resume_folder);
  facts.emplace_back("the folder of checkpoints to go on with", plan.config.resume_saves);
  facts.emplace_back("the checkpoint to go on with", plan.config.resume_checkpoint);
  for (size_t stage = 0; stage < plan.stages.size(); ++stage) {
    const StagePlan& own = plan.stages[stage];
    facts.emplace_back(fmt::format("the plan of pipeline rank {} (a hash)", stage),
                       hex(xxh3(print(own.graph) + to_string(own.schedule))));
  }
  return facts;
}

// One rank, from the plan to the end. `fabric`: nullptr if it is the only one.
// `cluster`: of a rehearsal, or of emulated links.
ExitCode run_rank(const Plan& plan, const Profile* cluster, const Connection& connection, Fabric* fabric,
                  StopSignal& stop) {
  const Config& config = plan.config;
  MpiSession* const session = connection.session;
  Log log(fabric ? fabric->rank() : 0, config.quiet);
  if (connection.launch.launched) log.without_status();
  greet(plan, log);
  std::optional<CommWorld> world;
  std::optional<CommLanes> lanes;
  std::vector<std::string> hosts;
  if (fabric) {
    world.emplace(*fabric, config.mesh, config.timeout());
    if (session) hosts = gather_hosts((*world)[Group::kWorld]);
    lanes.emplace(*world, ClockAlignment(*world));
  }
  show_layout(plan.config, hosts, log);
  CommLanes* const talking = lanes ? &*lanes : nullptr;
  Communicator* const all = world ? &(*world)[Group::kWorld] : nullptr;
  std::optional<Surroundings> around;
  std::optional<ModelledDevice> modelled;
  const int rank = fabric ? fabric->rank() : 0;
  if (config.rehearsal) modelled = rehearsed_device(plan, *cluster, rank);
  Trainer trainer(plan, log, talking, modelled ? &*modelled : nullptr);
  if (!config.emulate_links.empty()) {
    log.info(
        fmt::format("links  as slow, against this CPU's compute, as those of {} are against a {}: {:.4g} times "
                    "slower than real time",
                    config.emulate_links, cluster->device.name, *config.dilation));
    trainer.emulate(emulated_links(plan, *cluster, *config.dilation, rank));
  }
  try {
    trainer.open_data();
    check_same_on_all(all, trainer.data_facts());
    around.emplace(config, talking, session, stop);
    if (!trainer.prepare(&stop)) {
      log.info(fmt::format("stopped before the first step: {}. Nothing was trained, nothing has to be saved.",
                           stop.reason()));
      return config.saves() ? ExitCode::kStopped : ExitCode::kOk;
    }
    return config.eval_only ? evaluate_only(trainer, log) : train(trainer, plan, *around, all, stop, log);
  } catch (const std::exception& error) {
    // Before anything is waited for that may never come.
    if (session && !is_agreed(error)) {
      if (around && around->status()) session->abort(static_cast<int>(report_failure(*around->status(), &error)));
      connection.end_all(error);
    }
    if (fabric) fabric->give_up(std::current_exception());
    around.reset();
    throw;
  }
}

ExitCode run_local(const Plan& plan, const Profile* cluster, const Connection& connection, StopSignal& stop) {
  if (plan.config.local_ranks == 1) return run_rank(plan, cluster, connection, nullptr, stop);
  std::atomic<int> code = 0;
  run_local_ranks(plan.config.local_ranks, [&](Fabric& fabric) {
    const ExitCode own = run_rank(plan, cluster, connection, &fabric, stop);
    if (own != ExitCode::kOk) code = static_cast<int>(own);
  });
  return static_cast<ExitCode>(code.load());
}

FolderFacts facts_of_files() {
  FolderFacts facts = folder_facts();
  facts.cluster_cores = [](const std::string& cluster) {
    const CpuProfile cpu = load_profile(cluster).cpu;
    return ClusterCores{static_cast<int>(cpu.cores), static_cast<int>(cpu.hosts)};
  };
  return facts;
}

// The command line, read by every rank; where to go on is found by the first one alone, because the others may see
// a folder that has changed meanwhile, or another one.
CommandLine read_flags(int argc, char** argv, Connection& connection) {
  const Launch& launch = connection.launch;
  const std::string time = told_by_first(connection.all, time_stamp());
  const HostCores host = host_cores(connection.session);
  const LaunchInfo info{launch.num_ranks, host.ranks, host.cores, time};
  CommandLine command;
  std::optional<ResumePoint> point;
  run_on_first(connection.all, [&] {
    command = parse_train_flags(argc, argv, info, version_text(), facts_of_files(),
                                [&](const auto&... where) { return point = find_resume_point(where...); });
  });
  point = resume_point_of(told_by_first(connection.all, to_text(point)));
  run_agreed(connection.all, [&] {
    if (connection.is_first()) return;
    command = parse_train_flags(argc, argv, info, version_text(), facts_of_files(),
                                [&](const auto&...) { return point; });
  });
  return command;
}

// On this machine, with the links of `cluster`: all ranks are on it.
Prediction predict_emulated(const Plan& plan, const Profile& cluster) {
  const Profile cores = emulating_cores(plan, host_cores(nullptr).cores);
  const double dilation = plan.config.dilation.value_or(
      dilation_of(plan, cores.cpu, cluster, plan.config.mesh.num_ranks(), static_cast<int>(cores.cpu.cores)));
  return predict(plan, cores, EmulatedCluster{&cluster, dilation});
}

// What is asked for instead of training. `cluster`: whose links are emulated.
void look(const Plan& plan, const Profile* cluster) {
  const Config& config = plan.config;
  if (config.cluster.empty() && !cluster) return print_report(plan, std::cout);
  Prediction prediction = cluster ? predict_emulated(plan, *cluster) : predict(plan);
  // What another cluster would change is asked of that cluster, not of these cores.
  if (!cluster) prediction.outlook = outlook_with_layouts(plan, prediction);
  if (!config.predict_trace.empty()) write_predicted_trace(plan, prediction, config.predict_trace);
  if (config.json) {
    nlohmann::ordered_json json = dry_run_json(plan);
    json["predicted"] = prediction_json(prediction);
    std::cout << json.dump(2) << '\n';
    return;
  }
  print_report(plan, std::cout);
  std::cout << prediction_text(prediction);
  if (!prediction.profile.is_cpu())
    std::cout << fmt::format("{}: {}\n",
                             searches_layouts(plan, prediction)
                                 ? "all layouts"
                                 : "of this layout alone; the best one, also after such changes",
                             planner_command(config, config.cluster));
}

// Whether the plan is for CPUs like this host's: that of a run, of one at emulated links, or of a cluster that was
// measured on such.
bool is_for_this_cpu(const Config& config) {
  if (config.device != DeviceKind::kCpu) return false;
  if (!config.looks_only() || !config.emulate_links.empty()) return true;
  return !config.cluster.empty() && measured_on(load_profile(config.cluster), cpu_name());
}

ExitCode run(int argc, char** argv, Connection& connection, StopSignal& stop) {
  const CommandLine command = read_flags(argc, argv, connection);
  if (const auto* request = std::get_if<TextRequest>(&command)) {
    if (connection.is_first()) std::cout << request->text << '\n';
    return ExitCode::kOk;
  }
  const Config& config = std::get<Config>(command);
  if (config.looks_only() || config.eval_only) stop.release();
  connection.set_timeout(config.timeout());
  std::ostringstream dump;
  std::optional<Plan> plan;
  std::optional<Profile> cluster;
  run_agreed(connection.all, [&] {
    if (config.rehearsal)
      cluster = rehearsed_cluster(config);
    else if (!config.emulate_links.empty())
      cluster = emulated_cluster(config);
    else if (!config.looks_only())
      check_device(config.device);
    plan.emplace(build_plan(config, &dump));
    if (is_for_this_cpu(config)) fit_workspace(*plan, *make_cpu_backend(config.threads));
  });
  if (connection.is_first()) std::cout << dump.str();
  if (config.looks_only()) {
    run_on_first(connection.all, [&] {
      look(*plan, config.emulate_links.empty() ? nullptr : &*cluster);
      check_said();
    });
    return ExitCode::kOk;
  }
  if (config.rehearsal) run_agreed(connection.all, [&] { check_speed_up(*plan, *cluster); });
  if (!config.emulate_links.empty()) {
    const HostCores host = host_cores(connection.session);
    plan->config.dilation =
        find_dilation(*plan, *cluster, connection, host.ranks * config.local_ranks, host.cores).factor;
  }
  const Profile* const modelled = cluster ? &*cluster : nullptr;
  if (!connection.session) return run_local(*plan, modelled, connection, stop);
  check_same_on_all(connection.all, facts_of(*plan));
  return run_rank(*plan, modelled, connection, connection.session, stop);
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  trine::begin_program();
  trine::StopSignal stop(trine::detect_launch());  // before anything that takes time
  const auto timeout = trine::early_timeout(argc, argv, trine::Config().timeout());
  return trine::run_connected(
      "", timeout, [&](trine::Connection& connection) { return trine::run(argc, argv, connection, stop); });
}
