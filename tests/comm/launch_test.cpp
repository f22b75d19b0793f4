#include "comm/launch.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/local/local_ranks.h"

namespace trine {
namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

// What is detected with these variables and no others of any launcher.
Launch detect_with(const Variables& variables) {
  for (const char* name :
       {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_SIZE",
        "MPI_LOCALNRANKS", "PMIX_RANK", "PMIX_SERVER_URI2", "PMIX_NAMESPACE", "PMI_FD", "PMI_PORT",
        "PMI_CONTROL_PORT", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS",
        "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NODEID"})
    ::unsetenv(name);
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  return detect_launch();
}

void expect(const Variables& variables, int rank, int num_ranks, int ranks_on_host) {
  const Launch launch = detect_with(variables);
  EXPECT_TRUE(launch.launched);
  EXPECT_EQ(launch.rank, rank);
  EXPECT_EQ(launch.num_ranks, num_ranks);
  EXPECT_EQ(launch.ranks_on_host, ranks_on_host);
}

void expect_alone(const Variables& variables) {
  const Launch launch = detect_with(variables);
  EXPECT_FALSE(launch.launched);
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.num_ranks, 1);
  EXPECT_EQ(launch.ranks_on_host, 1);
}

Variables slurm_step(int rank, int node, const std::string& tasks_per_node, int num_tasks) {
  return {{"SLURM_STEP_ID", "0"},
          {"SLURM_PROCID", std::to_string(rank)},
          {"SLURM_NODEID", std::to_string(node)},
          {"SLURM_STEP_NUM_TASKS", std::to_string(num_tasks)},
          {"SLURM_STEP_TASKS_PER_NODE", tasks_per_node}};
}

TEST(Launch, WithoutLauncher) { expect_alone({}); }

TEST(Launch, OpenMpi) {
  expect({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}}, 3, 8,
         4);
}

TEST(Launch, MpichHydra) { expect({{"PMI_RANK", "1"}, {"PMI_SIZE", "6"}, {"MPI_LOCALNRANKS", "2"}}, 1, 6, 2); }

TEST(Launch, SlurmAloneOnUnevenNodes) {
  expect(slurm_step(2, 0, "4(x2),3", 11), 2, 11, 4);
  expect(slurm_step(7, 1, "4(x2),3", 11), 7, 11, 4);
  expect(slurm_step(9, 2, "4(x2),3", 11), 9, 11, 3);
  expect(slurm_step(0, 0, "5", 5), 0, 5, 5);
  expect(slurm_step(5, 1, "5,1(x3)", 8), 5, 8, 1);
  expect(slurm_step(1, 0, "nonsense", 2), 1, 2, 2);
}

TEST(Launch, SlurmWithPmiCountsTheTasksOfTheNode) {
  Variables pmi2 = slurm_step(5, 1, "4,2", 6);
  pmi2.insert(pmi2.end(), {{"PMI_RANK", "5"}, {"PMI_SIZE", "6"}});
  expect(pmi2, 5, 6, 2);
  Variables pmix = slurm_step(5, 1, "4,2", 6);
  pmix.emplace_back("PMIX_RANK", "5");
  expect(pmix, 5, 6, 2);
}

TEST(Launch, TheBatchScriptIsNotTheFirstOfManyRanks) {
  const Variables batch = {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_TASKS_PER_NODE", "4(x2)"}};
  expect_alone(batch);
  for (const char* reserved_step : {"4294967290", "4294967291"}) {  // a shell of salloc, a batch script
    Variables step = batch;
    step.insert(step.end(), {{"SLURM_STEP_ID", reserved_step}, {"SLURM_STEP_NUM_TASKS", "1"}});
    expect_alone(step);
  }
}

TEST(Launch, MpirunWithinSlurmIsNearer) {
  // mpirun starts its daemons by srun, whose variables the ranks inherit: here the second daemon of two.
  Variables both = slurm_step(1, 1, "1(x2)", 2);
  both.insert(both.end(),
              {{"OMPI_COMM_WORLD_RANK", "6"}, {"OMPI_COMM_WORLD_SIZE", "8"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
  expect(both, 6, 8, 4);
  both = slurm_step(1, 1, "1(x2)", 2);
  both.insert(both.end(), {{"PMI_RANK", "6"}, {"PMI_SIZE", "8"}, {"MPI_LOCALNRANKS", "4"}});
  expect(both, 6, 8, 4);
}

// mpirun, in a Slurm job or not, kills a second after its SIGTERM; srun's ranks have until the time limit's end.
TEST(Launch, SrunPassesSignalsOnToItsRanks) {
  const auto passes = [](Variables variables, const Variables& more) {
    variables.insert(variables.end(), more.begin(), more.end());
    return detect_with(variables).passes_signals;
  };
  const Variables step = slurm_step(1, 0, "2", 2);
  EXPECT_TRUE(passes(step, {}));
  EXPECT_TRUE(passes(step, {{"PMIX_RANK", "1"}}));
  EXPECT_TRUE(passes(step, {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}));
  // Daemons of mpirun and mpiexec that srun started, a rank each.
  EXPECT_FALSE(passes(step, {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "1"}}));
  EXPECT_FALSE(passes(
      step, {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}}));
  EXPECT_FALSE(passes({}, {}));
}

TEST(Launch, NonsenseIsNoLauncher) {
  expect_alone({{"OMPI_COMM_WORLD_RANK", "8"}, {"OMPI_COMM_WORLD_SIZE", "8"}});
  expect_alone({{"PMI_RANK", "-1"}, {"PMI_SIZE", "4"}});
  expect_alone({{"PMI_RANK", "1x"}, {"PMI_SIZE", "4"}});
  expect_alone({{"PMI_RANK", ""}, {"PMI_SIZE", "4"}});
}

TEST(Launch, SlurmWithoutPmiIsSaidBeforeMpiStarts) {
  try {
    check_pmi(detect_with(slurm_step(1, 0, "2", 2)));
    FAIL() << "two tasks of srun that know nothing of each other";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("2 tasks without PMI"), text.npos) << text;
    EXPECT_NE(text.find("--mpi=pmix"), text.npos) << text;
    EXPECT_EQ(text.find('\n'), text.npos) << text;
  }
  check_pmi(detect_with({}));
  check_pmi(detect_with(slurm_step(0, 0, "1", 1)));  // alone, and so without MPI
  for (const Variables& given : {Variables{{"PMIX_NAMESPACE", "slurm.pmix.7.0"}, {"PMIX_RANK", "1"}},
                                 Variables{{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"PMI_FD", "9"}}}) {
    Variables step = slurm_step(1, 0, "2", 2);
    step.insert(step.end(), given.begin(), given.end());
    check_pmi(detect_with(step));
  }
  check_pmi(detect_with({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}}));
}

// An environment that outlived its mpirun would make MPI_Init end the process with a riddle.
TEST(Launch, AServerThatIsGoneIsNamed) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string server = "123.0;tcp4://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const Launch launch =
      detect_with({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"PMIX_SERVER_URI2", server}});
  EXPECT_NO_THROW(check_pmi(launch));
  ::close(fd);
  try {
    check_pmi(launch);
    ADD_FAILURE() << "nobody listens";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("OMPI_COMM_WORLD_RANK=1 and OMPI_COMM_WORLD_SIZE=2"),
              std::string::npos);
    EXPECT_NE(std::string(error.what()).find(server), std::string::npos) << error.what();
  }
  detect_with({});
}

TEST(Launch, TheLibraryMustSeeAllRanks) {
  run_local_ranks(2, [](Fabric& fabric) {
    check_launch({.rank = 0, .num_ranks = 2, .ranks_on_host = 2, .launched = true}, fabric);
    check_launch({}, fabric);
    const Launch of_four = {.rank = 3,
                            .num_ranks = 4,
                            .ranks_on_host = 4,
                            .launched = true,
                            .rank_variable = "PMI_RANK",
                            .size_variable = "PMI_SIZE"};
    try {
      check_launch(of_four, fabric);
      ADD_FAILURE() << "2 ranks are not 4";
    } catch (const ConfigError& error) {  // whoever inherited the variables can find them
      EXPECT_NE(std::string(error.what()).find("PMI_RANK=3 and PMI_SIZE=4"), std::string::npos) << error.what();
    }
  });
}

}  // namespace
}  // namespace trine
