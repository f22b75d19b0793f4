// measure_cluster: what this machine, or all hosts of an mpirun, can do, as a profile that predictions read
// (train_llama --dry-run --cluster measured.json), and what is wrong with it.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "base/output_file.h"
#include "base/program.h"
#include "comm/cores.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "examples/program_flags.h"
#include "plan/config/config.h"
#include "runtime/job/agreement.h"
#include "runtime/job/connection.h"
#include "runtime/measure/measurement.h"

namespace trine {
namespace {

struct Request {
  MeasureOptions options;
  std::string out = "measured.json", model;
  int tp = 1, pp = 1;
};

bool parse(int argc, const char* const* argv, Request& request) {
  CLI::App app(
      "Measures what this machine can do, in under a minute, and says what is wrong with it. Alone, its ranks "
      "are threads of one process; under mpirun it measures what ranks of mpirun have, on all its hosts.",
      "measure_cluster");
  app.add_option("--out", request.out, "the profile, for --cluster of train_llama and plan_llama")
      ->type_name("FILE")
      ->capture_default_str();
  app.add_flag("--quick", request.options.quick, "bf16 alone, and fewer samples");
  app.add_option("--model", request.model, "layers of this model are tried (default: tiny and bench-s)")
      ->type_name("NAME|DIR");
  with_numbers<int>(app.add_option("--tp", request.tp,
                                   "of the layout that will run: its shapes, and whether its groups cross hosts"))
      ->type_name("N");
  with_numbers<int>(app.add_option("--pp", request.pp, "of the layout that will run"))->type_name("N");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return false;
  if (request.tp < 1 || request.pp < 1) problems.add("flags", "--tp and --pp are 1 or more.");
  problems.throw_if_any();
  request.options.tp = app.count("--tp") > 0 ? request.tp : 0;
  request.options.pp = request.pp;
  if (!request.model.empty()) request.options.models = {request.model};
  const std::filesystem::path folder = std::filesystem::path(request.out).parent_path();
  request.options.folder = folder.empty() ? "." : folder.string();
  return true;
}

void show(const Request& request, const Measurement& measurement) {
  nlohmann::ordered_json json = to_json(measurement.profile);
  json["findings"] = measurement.findings;
  const std::string text = json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  parse_profile(text, request.out);  // else --cluster would refuse it
  OutputFile file(request.out);
  if (!file.append(text)) throw IoError(fmt::format("[--out] {}", file.take_warning().value_or("was not written")));
  std::cout << measurement_text(measurement) << "written to " << request.out
            << ": train_llama ... --dry-run --cluster " << request.out << " predicts a step here\n";
  check_said();
}

ExitCode run(int argc, const char* const* argv, Connection& connection) {
  Communicator* const all = connection.all;
  Request request;
  bool goes_on = false;
  run_on_first(all, [&] { goes_on = parse(argc, argv, request); });
  if (told_by_first(all, goes_on ? "" : "end") == "end") return ExitCode::kOk;
  run_agreed(all, [&] {
    if (!connection.is_first()) parse(argc, argv, request);
  });
  const HostCores host = host_cores(connection.session);
  RanksHere here{connection.launch, {}, connection.session ? host.ranks : 1, host.cores};
  if (connection.session) {
    here.hosts = gather_hosts(*all);
    const Measurement measurement = measure_machine(request.options, here, all);
    run_on_first(all, [&] { show(request, measurement); });
    return ExitCode::kOk;
  }
  if (host.cores == 1) {
    show(request, measure_machine(request.options, here, nullptr));
    return ExitCode::kOk;
  }
  here.ranks_on_host = host.cores;
  here.hosts.assign(static_cast<size_t>(host.cores), host_name());
  run_local_ranks(host.cores, [&](Fabric& fabric) {
    const auto world = connect_all(fabric, Config().timeout());
    const Measurement measurement = measure_machine(request.options, here, world.get());
    if (fabric.rank() == 0) show(request, measurement);
    world->barrier();
  });
  return ExitCode::kOk;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  trine::begin_program();
  return trine::run_connected("measure_cluster: ", trine::Config().timeout(),
                              [&](trine::Connection& connection) { return trine::run(argc, argv, connection); });
}
