#include "runtime/training/metrics.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/data/file_limit.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using nlohmann::json;
using testing::read_file;
using testing::ScratchFolder;

const MetricsHeader kHeader{.version = "1.2",
                            .commit = "abc",
                            .layout = {.pp = 2, .dp = 3, .tp = 4},
                            .model = "tiny",
                            .num_parameters = 1'234'567};

std::vector<json> lines_of(const std::filesystem::path& path) {
  std::istringstream text(read_file(path));
  std::vector<json> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
  return lines;
}

StepMetrics some_step() {
  const std::vector<TraceEvent> events = {
      {.t0_ns = 0, .t1_ns = 1'000'000'007, .lane = Lane::kCompute, .kind = EventKind::kCompute},
      {.t0_ns = 0, .t1_ns = 1'333'333'333, .lane = Lane::kDp, .kind = EventKind::kCommDp},
      {.t0_ns = 1'400'000'001, .t1_ns = 1'777'777'777, .lane = Lane::kCompute, .kind = EventKind::kOptimizer}};
  return {.step = 7,
          .loss = 3.25,
          .grad_norm = 0.5,
          .lr = 3e-4,
          .tokens = 28672,
          .tokens_per_s = 2299.5,
          .tflops = 1.5,
          .memory_peak_bytes = int64_t{5} << 30,
          .loss_scale = 65536,
          .time = account(events, 0, 1'800'000'000),
          .time_unix_s = 1'750'000'000.25};
}

TEST(Metrics, WritesTheFieldsOfTheInterface) {
  const ScratchFolder folder;
  MetricsWriter writer(folder / "metrics.jsonl", kHeader);
  StepMetrics step = some_step();
  writer.write(step);
  step.mfu = 0.4;
  writer.write(step);
  writer.write_validation(7, 3.5, 1.75e9);
  const std::vector<json> lines = lines_of(folder / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], json::parse(R"({"version": "1.2", "commit": "abc", "layout": {"pp": 2, "dp": 3, "tp": 4},
                                      "model": "tiny", "parameters": 1234567})"));
  const json& line = lines[1];
  EXPECT_EQ(line["step"], 7);
  EXPECT_EQ(line["loss"], 3.25);
  EXPECT_EQ(line["grad_norm"], 0.5);
  EXPECT_EQ(line["lr"], 3e-4);
  EXPECT_EQ(line["tokens"], 28672);
  EXPECT_EQ(line["tokens_per_s"], 2299.5);
  EXPECT_EQ(line["tflops"], 1.5);
  EXPECT_FALSE(line.contains("mfu"));
  EXPECT_EQ(lines[2]["mfu"], 0.4);
  EXPECT_EQ(line["memory_peak_bytes"], int64_t{5} << 30);
  EXPECT_EQ(line["loss_scale"], 65536);
  EXPECT_EQ(line["skipped"], false);
  EXPECT_EQ(line["time_unix_s"], 1'750'000'000.25);
  double sum = 0;
  for (const char* part : {"compute_s", "recompute_s", "comm_tp_s", "comm_pp_s", "comm_dp_s", "wait_s", "bubble_s",
                           "optimizer_s", "data_s", "host_s", "checkpoint_s", "idle_s"}) {
    sum += line.at(part).get<double>();
  }
  EXPECT_EQ(sum, line["step_s"].get<double>());  // to the last bit
  EXPECT_NEAR(sum, 1.8, 1e-9);
  EXPECT_NEAR(line["comm_dp_s"].get<double>(), 0.333333326, 1e-12);
  EXPECT_NEAR(line["hidden_comm"]["dp_s"].get<double>(), 1.000000007, 1e-12);
  EXPECT_EQ(lines[3], json::parse(R"({"step": 7, "valid_loss": 3.5, "time_unix_s": 1.75e9})"));
}

TEST(Metrics, WhatIsNotFiniteOrNotThereIsNull) {
  const ScratchFolder folder;
  MetricsWriter writer(folder / "metrics.jsonl", kHeader);
  StepMetrics step = some_step();
  step.loss = std::nan("");
  step.grad_norm.reset();
  step.skipped = true;
  step.tokens_per_s = INFINITY;
  writer.write(step);
  writer.write_validation(1, -INFINITY, 0);
  const std::vector<json> lines = lines_of(folder / "metrics.jsonl");
  for (const char* field : {"loss", "grad_norm", "tokens_per_s"})
    EXPECT_TRUE(lines[1].at(field).is_null()) << field;
  EXPECT_EQ(lines[1]["skipped"], true);
  EXPECT_TRUE(lines[2]["valid_loss"].is_null());
}

TEST(Metrics, AResumedRunCutsBackWithoutWriting) {
  const ScratchFolder folder;
  const auto path = folder / "metrics.jsonl";
  {
    MetricsWriter writer(path, kHeader);
    for (int64_t i = 1; i <= 3; ++i) {
      StepMetrics step = some_step();
      step.step = i;
      writer.write(step);
      writer.write_validation(i, 1.0, 0);
    }
  }
  std::ofstream(path, std::ios::app) << "{\"step\": 1, \"cut";
  const std::string before = read_file(path);
  const testing::FileSizeLimit full_disk(0);
  MetricsWriter writer(path, kHeader, 2);
  EXPECT_EQ(lines_of(path).size(), 5u);  // header, two steps and two validations
  EXPECT_TRUE(before.starts_with(read_file(path)));
  EXPECT_FALSE(writer.failed());
}

TEST(Metrics, AFullDiskNeverLeavesHalfALine) {
  const ScratchFolder folder;
  const auto path = folder / "metrics.jsonl";
  const size_t header_bytes = [&] {
    MetricsWriter writer(path, kHeader);
    return read_file(path).size();
  }();
  for (const size_t space : {size_t{0}, header_bytes / 2, header_bytes, header_bytes + 100}) {
    std::optional<testing::FileSizeLimit> disk(space);
    MetricsWriter writer(path, kHeader);
    writer.write(some_step());
    EXPECT_EQ(lines_of(path).size(), space >= header_bytes ? 1u : 0u);
    EXPECT_TRUE(writer.failed());
    EXPECT_TRUE(writer.files()[0]->take_warning());
    disk.reset();
    writer.write(some_step());
    const std::vector<json> lines = lines_of(path);  // the header too, once there is space
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0]["model"], "tiny");
    EXPECT_EQ(lines[1]["step"], 7);
  }
}

}  // namespace
}  // namespace trine
