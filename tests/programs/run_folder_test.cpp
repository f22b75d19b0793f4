// What the programs do to folders and files that are not theirs, to each other,
// and where nobody reads what they print.
#include <fcntl.h>
#include <gmock/gmock.h>

#include "runtime/job/run_lock.h"
#include "tests/programs/resume.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class RunFolders : public ResumeTest {
 protected:
  static constexpr const char* kQuick = "--steps 4 --quiet ";
  std::set<std::string> names(const std::string& folder) const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / folder))
      names.insert(entry.path().filename());
    return names;
  }
  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file) << text;
  }
  // Of a command of mpirun().
  Ran expect_launched(const std::string& command, int code) const {
    const Ran ran = in_folder(command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    return ran;
  }
  // Each rank of two in a folder of its own, as on hosts that share nothing but the data.
  std::string on_two_hosts(const std::string& command) const {
    for (const std::string host : {"host0", "host1"}) {
      std::filesystem::create_directories(folder_ / host);
      for (const std::string data : {"text-train.bin", "text-train.idx"}) {
        std::error_code there;
        std::filesystem::create_symlink(folder_ / data, folder_ / host / data, there);
      }
    }
    return mpirun(2) + "bash -c \"cd host\\${OMPI_COMM_WORLD_RANK:-\\$PMI_RANK}; exec " + command + "\"";
  }
};

TEST_F(RunFolders, AnEmptyFolderIsUsedARunGetsANumberAnythingElseIsRefused) {
  prepare();
  std::filesystem::create_directories(folder_ / "out");
  const std::string train = std::string(kSmall) + kQuick;
  expect(train, 0);
  EXPECT_THAT(names("out"), Contains("config.json"));
  expect(train, 0);
  EXPECT_THAT(names("out-2"), Contains("config.json"));
  write("model/config.json", "{\"model_type\": \"llama\"}");
  for (const char* flags : {"--out model", "--resume auto --out model", "--out text.txt", "--out ."})
    expect(train + flags, 2, {"[run folder]", "nothing is written into it"});
  EXPECT_EQ(names("model"), std::set<std::string>{"config.json"});
  EXPECT_EQ(read_file(folder_ / "model/config.json"), "{\"model_type\": \"llama\"}");
  // Not UTF-8: said before anything is made, and not by a library.
  for (const char* flags : {"--out caf\xe9", "--data caf\xe9/text-train"})
    EXPECT_THAT(expect(train + flags, 2, {"UTF-8", "caf"}).text, Not(HasSubstr("exception")));
  for (const std::string& name : names(".")) EXPECT_THAT(name, Not(HasSubstr("caf")));
}

TEST_F(RunFolders, AnotherJobsFolderIsRefused) {
  prepare();
  const std::string train = std::string(kTiny) + "--steps 4 --quiet ";
  expect(train, 0);
  const std::string before = read_file(folder_ / "out/metrics.jsonl"),
                    config = read_file(folder_ / "out/config.json");
  {
    const RunLock other(folder_ / "out");
    const std::string who = "another job (process " + std::to_string(::getpid()) + " on ";
    for (const char* flags :
         {"--resume --steps 8", "--resume auto --steps 8", "--resume out --local-ranks 2 --tp 2"})
      expect(train + flags, 2, {who.c_str(), "out/lock"});
    expect(train + "--save out/checkpoints --out third", 2);
  }
  EXPECT_EQ(read_file(folder_ / "out/metrics.jsonl"), before);
  EXPECT_EQ(read_file(folder_ / "out/config.json"), config);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "third"));
  expect(train + "--resume --steps 8", 0);
  EXPECT_THAT(names("out"), Not(Contains("lock")));
}

TEST_F(RunFolders, UnderMpirunHostsThatDoNotShareItAreToldAtOnce) {
  prepare();
  const std::string train = std::string(kSmall) + "--steps 100000 --save-interval 1 ";
  for (const std::string& flags : {std::string("--out run"), "--save saves --out " + (folder_ / "out").string()}) {
    const Ran ran = expect_launched(on_two_hosts(train + flags), 3);
    for (const char* word : {"is not one folder for all ranks", "rank 0 (on", "rank 1 (on"})
      EXPECT_THAT(ran.text, HasSubstr(word));
    EXPECT_EQ(count(ran.text, "is not one folder"), 1u) << ran.text;
    EXPECT_THAT(ran.text, HasSubstr(flags.starts_with("--save") ? "Give --save" : "Give --out"));
  }
  const std::set<std::string> data = {"text-train.bin", "text-train.idx"};
  EXPECT_EQ(names("host0"), data) << "nothing came of it";
  EXPECT_EQ(names("host1"), data);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

// Everything that a run writes beside what other people keep there.
TEST_F(RunFolders, UnderMpirunNothingElseIsTouched) {
  prepare();
  const std::string train = mpirun(2) + kTiny + "--trace on --steps 4 --quiet";
  expect_launched(train, 0);
  const std::vector<std::string> mine = {"status/notes.txt", "status/rank-0009", "trace/from-step-000005/notes.txt",
                                         "trace/notes.txt",  "config.json.tmp",  "status/rank-0000.new"};
  for (const std::string& file : mine) write("out/" + file, "precious");
  write("victim", "precious");
  std::filesystem::create_symlink(folder_ / "victim", folder_ / "out/status/rank-0001.new");
  std::filesystem::create_symlink(folder_ / "victim", folder_ / "out/config.json.tmp2");
  std::filesystem::remove(folder_ / "out/config.json.tmp");
  std::filesystem::create_symlink(folder_ / "victim", folder_ / "out/config.json.tmp");
  expect_launched(mpirun(2) + kTiny + "--resume --trace on --steps 8 --quiet", 0);
  for (const std::string& file : mine) EXPECT_EQ(read_file(folder_ / "out" / file), "precious") << file;
  EXPECT_EQ(read_file(folder_ / "victim"), "precious");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/trace/from-step-000005/rank-0001.json.gz"));
  ASSERT_EQ(json_lines(folder_ / "out/metrics.jsonl").size(), 9u);
}

TEST_F(RunFolders, ClosedStreamsAndPipesAreNotWorthTheRun) {
  prepare("--valid-fraction 0.1 <&- >&- 2>&-");
  expect(std::string(kTiny) + "--steps 8 <&- >&- 2>&-", 0);
  EXPECT_EQ(json_lines(folder_ / "out/metrics.jsonl").size(), 9u);
  const std::string log = read_file(folder_ / "out/log.txt");
  EXPECT_EQ(count(log, "[rank 0]"), count(log, "\n")) << "lines that were printed: " << log;
  // `false` reads nothing: every write finds the pipe closed, sooner or later. Both streams go there.
  const auto into_nobody = [&](const std::string& command) {
    return in_folder("(" + command + "; echo $? > code) 2>&1 | false; cat code").text;
  };
  EXPECT_EQ(into_nobody(std::string(kSmall) + "--steps 100 --log-interval 1 --out piped"), "0\n");
  EXPECT_THAT(read_file(folder_ / "piped/log.txt"), HasSubstr("step 100/100"));
  EXPECT_EQ(into_nobody("prepare_data text.txt --out again"), "0\n");
  EXPECT_EQ(read_file(folder_ / "again-train.bin").size() > 0, true);
  EXPECT_EQ(into_nobody("checkpoint_tool export-hf out exported"), "0\n");
  EXPECT_THAT(names("exported"), Contains("config.json"));
  EXPECT_EQ(into_nobody("generate_llama --model out --prompt a --ignore-eos --max-tokens 64"), "0\n");
  EXPECT_EQ(into_nobody("generate_llama --model out --prompt a --ignore-eos --max-tokens 8 --tp 2"), "0\n");
  EXPECT_EQ(into_nobody("train_llama --print-graph"), "0\n");
  // A full disk is another matter, where what is printed is the work.
  expect("checkpoint_tool ls out > /dev/full", 3);
  expect("generate_llama --model out --prompt a --max-tokens 4 > /dev/full", 3);
  expect("train_llama --print-graph > /dev/full", 3);
}

// As srun starts ranks, seen from their environment: SIGTERM comes to all of them, more than once.
TEST_F(RunFolders, UnderMpirunAsUnderSrunSigtermSavesAndStops) {
  if (!kOpenMpi) GTEST_SKIP() << "only Open MPI's ranks find each other without their launcher's variables";
  prepare();
  Job job(folder_,
          mpirun(2) +
              "bash -c \"export SLURM_STEP_ID=0 SLURM_PROCID=\\$OMPI_COMM_WORLD_RANK SLURM_STEP_NUM_TASKS=2 "
              "SLURM_STEP_TASKS_PER_NODE=2 PMIX_RANK=\\$OMPI_COMM_WORLD_RANK; unset OMPI_COMM_WORLD_RANK "
              "OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_SIZE; exec " +
              kTiny + "--save-interval 1000000 --steps 1000000\"");
  job.wait_for_step(2);
  const auto ranks = read_all_status(folder_ / "out", 2);
  ASSERT_EQ(ranks.size(), 2u) << job.printed();
  for (int time = 0; time < 3; ++time)
    for (const RankStatus& rank : ranks) ::kill(rank.process.pid, SIGTERM);
  EXPECT_EQ(job.wait(), 8) << job.printed();
  EXPECT_THAT(job.printed(), HasSubstr("stopped after the step: SIGTERM. It is saved"));
  const auto lines = json_lines(folder_ / "out/metrics.jsonl");
  ASSERT_GT(lines.size(), 1u);
  EXPECT_TRUE(std::filesystem::exists(checkpoint(lines.back()["step"])));
}

}  // namespace
}  // namespace trine
