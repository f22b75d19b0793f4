#include "trace/trace_reader.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "tests/data/scratch.h"
#include "tests/trace/sample_trace.h"
#include "trace/trace_writer.h"

namespace trine {
namespace {

using ::testing::HasSubstr;
using testing::read_file;
using testing::sample_trace;
using testing::ScratchFolder;
using testing::write_file;

template <typename F>
void expect_refused(F f, const std::string& words) {
  testing::expect_error(ExitCode::kData, {words}, f);
}

TEST(TraceReader, ReadsWhatWasWritten) {
  for (const bool compressed : {true, false}) {
    for (const Mesh mesh : {Mesh{}, Mesh{.pp = 2, .dp = 2, .tp = 2}, Mesh{.pp = 3}, Mesh{.tp = 4}}) {
      const ScratchFolder folder;
      Trace trace = sample_trace(mesh);
      if (mesh.tp > 1) trace.modelled = {.cluster = "my \"cluster\"", .links_only = mesh.pp > 1, .times = 284.7};
      write_trace(trace, folder.path(), compressed);
      const Trace read = read_trace(folder.path());
      EXPECT_TRUE(read == trace);
      ASSERT_EQ(read.ranks.size(), trace.ranks.size());
      for (size_t r = 0; r < read.ranks.size(); ++r)  // where they differ
        for (size_t s = 0; s < read.ranks[r].steps.size(); ++s)
          EXPECT_EQ(read.ranks[r].steps[s].events.size(), trace.ranks[r].steps[s].events.size());
    }
  }
}

TEST(TraceReader, WhatItReadsAccountsAsBefore) {
  const ScratchFolder folder;
  const Trace trace = sample_trace();
  write_trace(trace, folder.path());
  const Trace read = read_trace(folder.path());
  for (size_t r = 0; r < trace.ranks.size(); ++r)
    for (size_t s = 0; s < trace.ranks[r].steps.size(); ++s) {
      const StepBreakdown before = account(trace.ranks[r].steps[s]), after = account(read.ranks[r].steps[s]);
      EXPECT_EQ(before.seconds, after.seconds);
      EXPECT_EQ(before.hidden_comm_s, after.hidden_comm_s);
      EXPECT_NEAR(after.step_s, 1, 1e-12);
    }
}

TEST(TraceReader, SelectsStepsAndRanks) {
  const ScratchFolder folder;
  const Trace trace = sample_trace();
  write_trace(trace, folder.path());
  const Trace read = read_trace(folder.path(), {.first_step = 2, .last_step = 2, .ranks = {{{1, 1}, {6, 6}}}});
  ASSERT_EQ(read.ranks.size(), 2u);
  EXPECT_EQ(read.ranks[1].rank, 6);
  EXPECT_EQ(read.ranks[1].coordinate, (Coordinate{1, 1, 0}));
  ASSERT_EQ(read.ranks[1].steps.size(), 1u);
  EXPECT_TRUE(read.ranks[1].steps[0] == trace.ranks[6].steps[1]);
  expect_refused([&] { read_trace(folder.path(), {.first_step = 9}); }, "no step of the selected");
}

TEST(TraceReader, FindsTheFilesOfARunAndPutsResumedPartsTogether) {
  const ScratchFolder folder;
  Trace first = sample_trace({.tp = 2}), second = first;
  for (RankTrace& rank : first.ranks) rank.steps.pop_back();
  for (RankTrace& rank : second.ranks) rank.steps.erase(rank.steps.begin());
  second.origin_unix_ns += 5'000;  // its process began later: its time 0 is 5 us after the first's
  write_trace(first, folder / "trace", false);
  write_trace(second, folder / "trace/from-step-000002");
  EXPECT_EQ(trace_files(folder.path()).size(), 4u);
  const Trace read = read_trace(folder.path());
  ASSERT_EQ(read.ranks.size(), 2u);
  ASSERT_EQ(read.ranks[0].steps.size(), 3u);
  StepTrace later = second.ranks[0].steps[0];  // step 2 of both: the later file's
  shift(later, 5'000);
  EXPECT_TRUE(read.ranks[0].steps[1] == later);
  EXPECT_TRUE(read.ranks[0].steps[0] == first.ranks[0].steps[0]);

  write_trace(first, folder / "trace");
  expect_refused([&] { trace_files(folder.path()); }, "both rank-0000.json");
}

TEST(TraceReader, RefusesFilesThatDoNotBelongTogether) {
  const ScratchFolder folder;
  write_trace(sample_trace({.tp = 2}), folder / "a");
  write_trace(sample_trace({.pp = 2}), folder / "b");
  expect_refused(
      [&] {
        read_trace(
            std::vector<std::filesystem::path>{folder / "a/rank-0000.json.gz", folder / "b/rank-0001.json.gz"});
      },
      "a layout of pp 2 dp 1 tp 1");
  write_file(folder / "other.json", R"({"traceEvents": []})");
  expect_refused([&] { read_trace(folder / "other.json"); }, "a trace of another program");
  write_file(folder / "empty", "");
  expect_refused([&] { read_trace(folder / "empty"); }, "the text ends too early");
  expect_refused([&] { read_trace(folder / "missing"); }, "missing");
  expect_refused([&] { read_trace(folder.path()); }, "holds no trace");
}

// A file that is cut or changed anywhere is an error with its name and place, or a trace: never anything else.
TEST(TraceReader, SurvivesEveryCutAndManyChanges) {
  const ScratchFolder folder;
  const Trace trace = sample_trace({.pp = 2}, 1);
  int refused = 0;
  const auto try_to_read = [&](const std::string& bytes) {
    write_file(folder / "x", bytes);
    try {
      for (const RankTrace& rank : read_trace(folder / "x").ranks)
        for (const StepTrace& step : rank.steps) account(step);
    } catch (const DataError& error) {
      ++refused;
      EXPECT_THAT(error.what(), HasSubstr((folder / "x").string()));
    }
  };
  for (const bool compressed : {false, true}) {
    write_trace(trace, folder.path(), compressed);
    const std::string whole = read_file(folder / (compressed ? "rank-0001.json.gz" : "rank-0001.json"));
    refused = 0;
    int cuts = 0;
    for (size_t length = 0; length < whole.size() - 1; length += compressed ? 3 : 17, ++cuts)
      try_to_read(whole.substr(0, length));
    EXPECT_EQ(refused, cuts);
    std::mt19937 random(1);
    for (int i = 0; i < 2000; ++i) {
      std::string bytes = whole;
      for (int changes = i % 3; changes >= 0; --changes)
        bytes[random() % bytes.size()] = "09-.,:{}[]\"eE\\ \xff"[random() % 16];
      try_to_read(bytes);
    }
    if (compressed) {
      EXPECT_GT(refused, cuts + 1900) << "gzip has a checksum";
    }
  }
}

TEST(TraceReader, NumbersThatNoTraceHasAreErrors) {
  const ScratchFolder folder;
  write_trace(sample_trace({.pp = 2}, 1), folder.path(), false);
  const std::string whole = read_file(folder / "rank-0001.json");
  const auto with = [&](const std::string& what, const std::string& instead) {
    std::string text = whole;
    const size_t at = text.find(what);
    EXPECT_NE(at, text.npos) << what;
    write_file(folder / "x", text.replace(at, what.size(), instead));
    return [&] { read_trace(folder / "x"); };
  };
  expect_refused(with("\"peer\":0", "\"peer\":2"), "peer 2 of pp 2");
  expect_refused(with("\"node\":1,", "\"node\":7,"), "node 7 of 7");
  expect_refused(with("\"kind\":\"compute\"", "\"kind\":\"guess\""), "of one that this program");
  expect_refused(with("\"step\":1,\"dev", "\"step\":2,\"dev"), "whose bounds");
  expect_refused(with("\"bytes\":", "\"bytes\":9999999999999999999"), "integer from 0");
  expect_refused(with("\"flops\":", "\"flops\":-"), "a positive number");
  expect_refused(with("\"pp\":2", "\"pp\":2000000"), "integer from 1");
  expect_refused(with("\"format\":1", "\"format\":2"), "reads format 1");
  expect_refused(with("\"cat\":\"kernel\",\"pid\":1,\"tid\":0", "\"cat\":\"kernel\",\"pid\":1,\"tid\":7"),
                 "row 7 is no lane");
}

TEST(TraceReader, OtherProgramsMayFormatTheFile) {
  const ScratchFolder folder;
  const Trace trace = sample_trace({}, 1);
  write_trace(trace, folder.path(), false);
  const nlohmann::json parsed = nlohmann::json::parse(read_file(folder / "rank-0000.json"));
  nlohmann::ordered_json sorted;  // the header first, as ours
  for (const char* key : {"trine", "distributedInfo", "deviceProperties", "baseTimeNanoseconds", "traceEvents"})
    sorted[key] = parsed[key];
  write_file(folder / "x", sorted.dump(2));
  const Trace read = read_trace(folder / "x");
  ASSERT_EQ(read.ranks.size(), 1u);
  EXPECT_EQ(read.ranks[0].steps[0].events.size(), trace.ranks[0].steps[0].events.size());
}

}  // namespace
}  // namespace trine
