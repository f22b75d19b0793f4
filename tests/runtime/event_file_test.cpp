// TensorBoard's event files, against bytes that TensorBoard's own writer made and a reader written here.
#include "runtime/training/event_file.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "runtime/training/metrics.h"
#include "tests/data/file_limit.h"
#include "tests/data/scratch.h"
#include "tests/runtime/event_reader.h"

namespace trine {
namespace {

using testing::read_file;
using testing::ScratchFolder;

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::filesystem::path only_file(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files(std::filesystem::directory_iterator(folder), {});
  EXPECT_EQ(files.size(), 1u);
  return files.at(0);
}

std::vector<int64_t> steps_of(const std::vector<Event>& events) {
  std::vector<int64_t> steps;
  for (const Event& event : events)
    if (event.file_version.empty()) steps.push_back(event.step);
  return steps;
}

// CRC-32C of "123456789" and of 32 zeros: RFC 3720, appendix B.4, and every table of CRCs.
TEST(EventFile, MaskedChecksums) {
  const auto mask = [](uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; };
  EXPECT_EQ(masked_crc32c("123456789"), mask(0xe3069283u));
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')), mask(0x8a9136aau));
  EXPECT_EQ(masked_crc32c(""), mask(0));
}

// tensorboard 2.21: Event(wall_time=1750000000.25, step=300, summary=...) through its RecordWriter.
TEST(EventFile, WritesTensorBoardsBytes) {
  const ScratchFolder folder;
  EventFile events(folder / "tb");
  const EventFile::Scalar scalars[] = {{"loss", 3.25}, {"hidden_comm/tp_s", -0.0625}};
  events.write(300, 1750000000.25, scalars);
  const std::filesystem::path file = only_file(folder / "tb");
  EXPECT_THAT(file.filename().string(), ::testing::MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\..+"));
  EXPECT_THAT(hex(read_file(file)),
              ::testing::EndsWith(
                  "34000000000000005e33175c0900001060b813da4110ac022a260a0b0a046c6f737315000050400a170a1068696464"
                  "656e5f636f6d6d2f74705f7315000080bd11919294"));
  const std::vector<Event> all = read_events(file);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].file_version, "brain.Event:2");
  EXPECT_EQ(all[1].scalars, (std::map<std::string, float>{{"loss", 3.25f}, {"hidden_comm/tp_s", -0.0625f}}));
}

// Steps beyond 31 bits too; a last event that was cut off is none.
TEST(EventFile, AResumedRunGoesOnBehindItsStep) {
  const ScratchFolder folder;
  const int64_t far = int64_t{1} << 40;
  const auto write = [&](EventFile& events, int64_t step) {
    const EventFile::Scalar scalar[] = {{"loss", static_cast<double>(step)}};
    events.write(step, 1.0, scalar);
  };
  {
    EventFile events(folder.path());
    for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{2}, int64_t{300}, far}) write(events, step);
  }
  const std::filesystem::path file = only_file(folder.path());
  const std::string whole = read_file(file);
  {
    EventFile events(folder.path(), 300);
    EXPECT_EQ(steps_of(read_events(file)), (std::vector<int64_t>{1, 2, 2, 300}));
    write(events, 301);
  }
  EXPECT_EQ(steps_of(read_events(only_file(folder.path()))), (std::vector<int64_t>{1, 2, 2, 300, 301}));
  std::ofstream(file, std::ios::binary) << whole.substr(0, whole.size() - 1);
  { EventFile events(folder.path(), far); }
  EXPECT_EQ(steps_of(read_events(file)), (std::vector<int64_t>{1, 2, 2, 300}));
  { EventFile events(folder.path()); }  // begins anew
  EXPECT_EQ(read_file(file), "");
  std::ofstream(file, std::ios::binary) << "nothing that is an event";
  EventFile events(folder.path(), 5);
  write(events, 6);
  EXPECT_EQ(steps_of(read_events(file)), (std::vector<int64_t>{6}));
  EXPECT_EQ(read_events(file)[0].file_version, "brain.Event:2");
}

TEST(EventFile, AFullDiskLosesEventsWhole) {
  const ScratchFolder folder;
  const EventFile::Scalar scalar[] = {{"loss", 1.0}};
  EventFile events(folder.path());
  {
    const testing::FileSizeLimit disk(40);
    events.write(1, 1.0, scalar);
  }
  EXPECT_TRUE(events.file().failed());
  events.write(2, 1.0, scalar);
  const std::vector<Event> all = read_events(only_file(folder.path()));
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].file_version, "brain.Event:2");
  EXPECT_EQ(all[1].step, 2);
}

// Every number of a line of metrics.jsonl is a scalar of its name, at its step and time.
TEST(EventFile, HasTheScalarsOfMetrics) {
  const ScratchFolder folder;
  const MetricsHeader header{.version = "1", .commit = "c", .layout = {}, .model = "tiny", .num_parameters = 1};
  StepMetrics step{
      .step = 3, .loss = 2.5, .grad_norm = std::nullopt, .mfu = std::nullopt, .skipped = true, .time = {}};
  step.time_unix_s = 1.5e9, step.lr = std::nan("");
  MetricsWriter writer(folder / "metrics.jsonl", header, std::nullopt, folder / "tb");
  writer.write(step);
  writer.write_validation(3, 2.75, 1.5e9 + 1);
  EXPECT_EQ(writer.files().size(), 2u);
  std::istringstream lines(read_file(folder / "metrics.jsonl"));
  std::string line;
  std::getline(lines, line), std::getline(lines, line);
  const auto json = nlohmann::json::parse(line);
  const std::vector<Event> all = read_events(only_file(folder / "tb"));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[1].step, 3);
  EXPECT_EQ(all[1].wall_time, 1.5e9);
  EXPECT_EQ(all[1].scalars.at("skipped"), 1.0f);
  EXPECT_TRUE(std::isnan(all[1].scalars.at("lr")));
  size_t numbers = 3;  // of hidden_comm
  for (const auto& [key, value] : json.items()) {
    if (key == "step" || key == "time_unix_s" || !value.is_number()) continue;
    EXPECT_EQ(all[1].scalars.at(key), value.get<float>()) << key;
    ++numbers;
  }
  EXPECT_EQ(all[1].scalars.size(), numbers + 2);  // skipped, and the lr that JSON has no word for
  EXPECT_TRUE(all[1].scalars.contains("hidden_comm/dp_s"));
  EXPECT_FALSE(all[1].scalars.contains("grad_norm"));
  EXPECT_EQ(all[2].scalars, (std::map<std::string, float>{{"valid_loss", 2.75f}}));
  EXPECT_EQ(all[2].wall_time, 1.5e9 + 1);
}

}  // namespace
}  // namespace trine
