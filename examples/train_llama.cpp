// train_llama: from the command line to a trained model. The story: flags -> Config -> Plan -> Trainer.
#include <atomic>
#include <csignal>
#include <ctime>
#include <fmt/core.h>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/text.h"
#include "comm/clock.h"
#include "comm/cores.h"
#include "comm/launch.h"
#include "comm/local/local_ranks.h"
#include "comm/mpi/mpi_session.h"
#include "examples/version.h"
#include "models/llama_config.h"
#include "plan/flag_values.h"
#include "plan/flags.h"
#include "plan/layout_grid.h"
#include "plan/layouts.h"
#include "plan/plan.h"
#include "plan/report.h"
#include "runtime/agreement.h"
#include "runtime/devices.h"
#include "runtime/failure_report.h"
#include "runtime/failure_watch.h"
#include "runtime/model_folder.h"
#include "runtime/saver.h"
#include "runtime/trainer.h"

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

ExitCode code_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return ExitCode::kOutOfMemory;
  const auto* known = dynamic_cast<const Error*>(&error);
  return known ? known->code() : ExitCode::kOther;
}

ExitCode evaluate_only(Trainer& trainer, MpiSession* session, Log& log) {
  if (!trainer.has_validation())
    throw ConfigError(
        "[--eval-only] there is no validation data. Pass --valid-data, or --valid-fraction with --data.");
  try {
    log.info(fmt::format("validation loss {:.6f}", trainer.validate()));
  } catch (const std::exception& error) {
    if (!session) throw;
    log.fail(error.what());
    session->abort(static_cast<int>(code_of(error)));
  }
  return ExitCode::kOk;
}

// Rank 0 chooses the folder; the others are told.
RunFolder make_run_folder(const Config& config, Communicator* world) {
  struct Path {
    char text[4096] = {};
  };
  Path path;
  run_agreed(world, [&] {
    if (world != nullptr && world->rank() != 0) return;
    const bool goes_on = !config.resume_folder.empty() && config.out == config.resume_folder;
    // What began with --resume auto is looked for under the same --out, so it may not be in another folder.
    const bool begins = config.resume_folder.empty() && config.resume == "auto";
    const RunFolder folder = goes_on || begins ? RunFolder(config.out) : RunFolder::create(config.out);
    Config resolved = config;
    resolved.out = folder.path();
    resolved.resume.reset();
    folder.write_config(to_json(resolved).dump(2) + "\n");
    folder.path().string().copy(path.text, sizeof path.text - 1);
  });
  if (world != nullptr) world->broadcast(path.text, sizeof path.text, DType::kU8, 0);
  return RunFolder(path.text);
}

// What ends a job of several processes when one of them fails.
struct Watch {
  std::optional<StatusWriter> status;
  std::optional<FailureWatch> failures;

  Watch(const RunFolder& folder, CommWorld& world) {
    Communicator& all = world[Group::kWorld];
    run_agreed(&all, [&] { status.emplace(folder.path(), all.rank(), all.size()); });
    status->observe(world);
    all.barrier();
    failures.emplace(*status);
  }
};

ExitCode train(Trainer& trainer, const Plan& plan, CommLanes* lanes, MpiSession* session, StopSignal& stop,
               Log& log) {
  Communicator* const world = lanes ? &lanes->world()[Group::kWorld] : nullptr;
  const RunFolder folder = make_run_folder(plan.config, world);
  const bool first = world == nullptr || world->rank() == 0;
  if (first) log.open(folder.log());
  log.info(fmt::format("run    {}", folder.path().string()));

  std::optional<Watch> watch;
  if (session) watch.emplace(folder, lanes->world());
  if (first) stop.watch_file(folder.stop_file());
  const MetricsHeader header{version_number(), version_commit(), plan.config.mesh, plan.config.model_name,
                             parameter_count(plan.config.model)};
  TrainingEnd end;
  try {
    end = trainer.train(folder, header, &stop, watch ? &*watch->status : nullptr);
  } catch (const NonFiniteError&) {
    throw;  // all ranks have it
  } catch (const std::exception& error) {
    if (!session) throw;
    session->abort(static_cast<int>(report_failure(*watch->status, &error)));
  }
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

// One rank, from the plan to the end. `fabric`: nullptr if it is the only one; `session`: if it is MPI's.
ExitCode run_rank(const Plan& plan, const Launch& launch, Fabric* fabric, MpiSession* session, StopSignal& stop) {
  Log log(fabric ? fabric->rank() : 0, plan.config.quiet);
  if (launch.launched) log.without_status();
  greet(plan, log);
  std::optional<CommWorld> world;
  std::optional<CommLanes> lanes;
  std::vector<std::string> hosts;
  if (fabric) {
    const auto timeout = std::chrono::milliseconds(static_cast<int64_t>(plan.config.timeout_s * 1e3));
    world.emplace(*fabric, plan.config.mesh, timeout);
    if (session) hosts = gather_hosts((*world)[Group::kWorld]);
    const std::vector<ClockOffset> clocks = align_clocks((*world)[Group::kWorld]);
    lanes.emplace(*world, clocks[static_cast<size_t>(fabric->rank())]);
  }
  show_layout(plan.config, hosts, log);
  CommLanes* const connection = lanes ? &*lanes : nullptr;
  Trainer trainer(plan, log, connection);
  try {
    if (!trainer.prepare(&stop)) {
      log.info(fmt::format("stopped before the first step: {}. Nothing was trained, nothing has to be saved.",
                           stop.reason()));
      return Saver::wanted(plan.config) ? ExitCode::kStopped : ExitCode::kOk;
    }
    return plan.config.eval_only ? evaluate_only(trainer, session, log)
                                 : train(trainer, plan, connection, session, stop, log);
  } catch (...) {
    if (fabric) fabric->give_up(std::current_exception());
    throw;
  }
}

ExitCode run_local(const Plan& plan, const Launch& launch, StopSignal& stop) {
  if (plan.config.local_ranks == 1) return run_rank(plan, launch, nullptr, nullptr, stop);
  std::atomic<int> code = 0;
  run_local_ranks(plan.config.local_ranks, [&](Fabric& fabric) {
    const ExitCode own = run_rank(plan, launch, &fabric, nullptr, stop);
    if (own != ExitCode::kOk) code = static_cast<int>(own);
  });
  return static_cast<ExitCode>(code.load());
}

// True of errors that all ranks have, as the trainer promises.
bool on_all_ranks(const std::exception& error) {
  return dynamic_cast<const Error*>(&error) && code_of(error) != ExitCode::kHang &&
         code_of(error) != ExitCode::kPeerLost;
}

ExitCode explain(const std::exception& error, int rank) {
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  if (rank == 0 || !on_all_ranks(error))
    Log(rank, true).fail(memory ? "[memory] out of host memory." : error.what());
  return code_of(error);
}

ExitCode run(int argc, char** argv, const Launch& launch, MpiSession* session, StopSignal& stop) {
  const HostCores host = host_cores(session);
  const LaunchInfo info{launch.num_ranks, host.ranks, host.cores, time_stamp()};
  const CommandLine command = parse_train_flags(argc, argv, info, version_text(), saved_config);
  if (const auto* request = std::get_if<TextRequest>(&command)) {
    if (launch.rank == 0) std::cout << request->text << '\n';
    return ExitCode::kOk;
  }
  const Config& config = std::get<Config>(command);
  if (config.looks_only() || config.eval_only) stop.release();
  // Ranks of one host all find the same; those of several agree once they can talk.
  if (!config.looks_only() && launch.ranks_on_host == launch.num_ranks) check_device(config.device);
  std::ostringstream dump;
  const Plan plan = build_plan(config, &dump);
  if (launch.rank == 0) std::cout << dump.str();
  if (config.looks_only()) {
    if (launch.rank == 0) print_report(plan, std::cout);
    return ExitCode::kOk;
  }
  return session ? run_rank(plan, launch, session, session, stop) : run_local(plan, launch, stop);
}

// With MPI, an error that not all ranks have must end the job here, before Finalize would wait for them.
ExitCode run_with_mpi(int argc, char** argv, const Launch& launch, StopSignal& stop) {
  check_pmi(launch);
  MpiSession session;
  check_launch(launch, session);
  try {
    return run(argc, argv, launch, &session, stop);
  } catch (const std::exception& error) {
    const ExitCode code = explain(error, launch.rank);
    if (!on_all_ranks(error)) session.abort(static_cast<int>(code));
    return code;
  }
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is a full disk, not a crash
  const trine::Launch launch = trine::detect_launch();
  trine::undo_default_binding(launch);
  trine::StopSignal stop(launch.launched);  // before anything that takes time
  try {
    const bool mpi = launch.launched && launch.num_ranks > 1;
    return static_cast<int>(mpi ? trine::run_with_mpi(argc, argv, launch, stop)
                                : trine::run(argc, argv, launch, nullptr, stop));
  } catch (const std::exception& error) {
    return static_cast<int>(trine::explain(error, launch.rank));
  }
}
