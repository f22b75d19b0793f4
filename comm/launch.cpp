#include "comm/launch.h"

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <unistd.h>

#include "base/error.h"
#include "comm/transport.h"

namespace trine {
namespace {

// The integer that `text` begins with, which is taken off it. Too big for an int: none.
std::optional<int> take_int(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::string_view environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string_view() : text;
}

std::optional<int> environment_int(const char* name) {
  std::string_view text = environment(name);
  const std::optional<int> value = take_int(text);
  return text.empty() ? value : std::nullopt;
}

// Slurm's list of tasks on each node of a step, such as "4(x2),3" for 4, 4 and 3.
std::optional<int> tasks_of_node(std::string_view list, int node) {
  do {
    const std::optional<int> tasks = take_int(list);
    std::optional<int> nodes = 1;
    if (take(list, "(x")) {
      nodes = take_int(list);
      if (!take(list, ")")) return std::nullopt;
    }
    if (!tasks || !nodes) return std::nullopt;
    if (node < *nodes) return tasks;
    node -= *nodes;
  } while (take(list, ","));
  return std::nullopt;
}

// Slurm's own variables. Batch scripts and the shells of salloc are steps of one task, with the ids that Slurm
// reserves at the end of 32 bits: no rank of many, even where other variables name the job's tasks.
Launch slurm_step() {
  const auto step = environment_int("SLURM_STEP_ID"), rank = environment_int("SLURM_PROCID"),
             size = environment_int("SLURM_STEP_NUM_TASKS");
  if (!step || !rank || !size) return {};
  const int node = environment_int("SLURM_NODEID").value_or(0);
  const int on_host = tasks_of_node(environment("SLURM_STEP_TASKS_PER_NODE"), node).value_or(*size);
  return {*rank, *size, on_host, true, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", true};
}

Launch detect() {
  const Launch slurm = slurm_step();
  struct Launcher {
    const char *rank, *size, *local_size;
  };
  static constexpr Launcher launchers[] = {
      {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},  // Open MPI, also over PMIx
      {"PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"},  // MPICH's Hydra; srun --mpi=pmi2 without the last
  };
  for (const Launcher& launcher : launchers) {
    const auto rank = environment_int(launcher.rank), size = environment_int(launcher.size);
    if (!rank || !size) continue;
    const int on_host = slurm.num_ranks == *size ? slurm.ranks_on_host : *size;
    const auto local_size = environment_int(launcher.local_size);
    // A process manager of MPI's own starts its ranks itself and says how many are here; srun --mpi=pmi2 does not.
    const bool by_slurm = slurm.launched && slurm.rank == *rank && slurm.num_ranks == *size && !local_size;
    return {*rank, *size, local_size.value_or(on_host), true, launcher.rank, launcher.size, by_slurm};
  }
  return slurm;  // also srun --mpi=pmix: PMIX_RANK has no size beside it
}

// Whether somebody listens at `port` of this host; true where the kernel does not say.
bool has_listener(int port) {
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream table(path);
    std::string line;
    if (!std::getline(table, line)) return true;
    while (std::getline(table, line)) {  // "  0: 0100007F:BE5D 00000000:0000 0A ..."; 0A is LISTEN
      std::istringstream fields(line);
      std::string slot, local, remote, state;
      fields >> slot >> local >> remote >> state;
      const size_t colon = local.find(':');
      if (state == "0A" && colon != local.npos && std::strtol(local.c_str() + colon + 1, nullptr, 16) == port)
        return true;
    }
  }
  return false;
}

// True of the address of a PMIx server on this host, "123.0;tcp4://127.0.0.1:48733", that is not there any more.
bool is_gone(std::string_view server) {
  constexpr std::string_view kHere = "://127.0.0.1:";
  const size_t begin = server.find(kHere);
  if (begin == server.npos) return false;
  server.remove_prefix(begin + kHere.size());
  const std::optional<int> port = take_int(server);
  return port && !has_listener(*port);
}

}  // namespace

Launch detect_launch() {
  const Launch launch = detect();
  const bool sound = 0 <= launch.rank && launch.rank < launch.num_ranks && 1 <= launch.ranks_on_host &&
                     launch.ranks_on_host <= launch.num_ranks;
  return sound ? launch : Launch{};
}

void check_pmi(const Launch& launch) {
  if (!launch.of_many()) return;
  if (const std::string_view server = environment("PMIX_SERVER_URI2"); is_gone(server))
    throw ConfigError(
        fmt::format("[mpi] {}={} and {}={} are left over from a launcher that has ended: its server ({}) is not "
                    "there any more. Start from another shell, or unset them.",
                    launch.rank_variable, launch.rank, launch.size_variable, launch.num_ranks, server));
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD",
                               "PMI_PORT", "PMI_CONTROL_PORT"})
    if (std::getenv(variable) != nullptr) return;
  throw ConfigError(fmt::format(
      "[mpi] srun started {} tasks without PMI, so that MPI cannot make them one job. Add --mpi=pmix to srun (Open "
      "MPI) or --mpi=pmi2 (MPICH); srun --mpi=list says what this Slurm has. mpirun inside sbatch needs neither. "
      "Is this process alone, and {}={} left over? Then unset it.",
      launch.num_ranks, launch.rank_variable, launch.rank));
}

bool within_slurm_step() {
  for (int pid = ::getppid(); pid > 1;) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    std::getline(file, line);  // "pid (name) state parent ...", see proc(5)
    const size_t begin = line.find('('), end = line.rfind(')');
    if (begin == line.npos || end == line.npos) return false;
    if (line.substr(begin + 1, end - begin - 1) == "slurmstepd") return true;
    std::istringstream fields(line.substr(end + 1));
    std::string state;
    if (!(fields >> state >> pid)) return false;
  }
  return false;
}

void check_launch(const Launch& launch, const Fabric& fabric) {
  if (!launch.launched || launch.num_ranks == fabric.num_ranks()) return;
  throw ConfigError(fmt::format(
      "[mpi] {}={} and {}={} say that a launcher started {} ranks, but the MPI library of this program sees {}. "
      "Use the mpirun of the MPI that the program was built with, or srun with its --mpi=pmix or --mpi=pmi2. Is "
      "this process alone, and they are left over? Then unset them.",
      launch.rank_variable, launch.rank, launch.size_variable, launch.num_ranks, launch.num_ranks,
      fabric.num_ranks()));
}

}  // namespace trine
