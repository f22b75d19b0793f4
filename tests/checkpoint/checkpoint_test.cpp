// Checkpoints as files: any layout reads any other, HDF5 itself reads them, newest and oldest are told apart.
#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <thread>

#include "checkpoint/hdf5.h"
#include "checkpoint/shard_file.h"
#include "tests/checkpoint/fault_injection.h"
#include "tests/checkpoint/saved_model.h"
#include "tests/data/scratch.h"
#include "tests/test_data.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using namespace testing;

std::vector<TestLayout> layouts() {
  std::vector<TestLayout> list;
  for (int tp : {1, 2, 3}) {
    for (int pp : {1, 2}) {
      for (int dp : {1, 2, 5}) list.push_back({tp, pp, dp, true}), list.push_back({tp, pp, dp, false});
    }
  }
  return list;
}

TEST(CheckpointLayouts, AnyReadsAnyOther) {
  std::vector<uint64_t> hashes;
  for (const TestLayout& writer : layouts()) {
    const ScratchFolder scratch;
    const SaveOutcome saved = save(scratch.path(), 5, writer);
    ASSERT_TRUE(saved.ok) << saved.problem;
    EXPECT_TRUE(saved.warnings.empty());
    Checkpoint checkpoint(saved.path);
    for (const TestLayout& reader : layouts()) {
      for (int rank = 0; rank < reader.num_ranks(); ++rank) {
        const OwnedSlices want = owned(reader, rank, 5);
        for (size_t i = 0; i < want.slices.size(); ++i) {
          const Slice& slice = want.slices[i];
          std::vector<std::byte> got(want.memory[i].size());
          checkpoint.read(checkpoint.tensor(slice.kind, slice.name), slice.boxes, std::span(got));
          ASSERT_EQ(got, want.memory[i]) << slice.name << " rank " << rank;
        }
      }
    }
    EXPECT_EQ(checkpoint.verify(), std::vector<std::string>{});
    EXPECT_EQ(checkpoint.manifest().state, state_at(5));
    EXPECT_EQ(checkpoint.manifest().config, job_at({}, 5).config);
    EXPECT_EQ(to_string(checkpoint.manifest().layout), "tp2 pp1 dp3 zero1");
    std::vector<uint64_t> now;
    for (const TensorEntry& tensor : checkpoint.manifest().tensors) now.push_back(tensor.hash);
    if (hashes.empty()) hashes = now;
    EXPECT_EQ(now, hashes);  // of tensors: no matter who wrote them
  }
  std::sort(hashes.begin(), hashes.end());
  EXPECT_EQ(std::unique(hashes.begin(), hashes.end()), hashes.end());
}

TEST(CheckpointFiles, LargeTensorsAreManyChunksAndReadsTouchFew) {
  const std::vector<SavedTensor> large = {{"a", {3000, 1500}, 0}, {"b", {3, 700000}, 1}, {"c", {1000001}, -1}};
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 1, {2, 1, 2, true}, {}, large).ok);
  Checkpoint checkpoint(scratch / "step-000001");
  expect_state_of(checkpoint, 1, large);
  EXPECT_EQ(checkpoint.verify(), std::vector<std::string>{});
  const std::vector<Box> boxes = {{{1499, 700}, {2, 3}}, {{2999, 1499}, {1, 1}}};
  std::vector<std::byte> got(28);
  checkpoint.read(checkpoint.tensor(TensorKind::kMomentum, "a"), boxes, std::span(got));
  EXPECT_EQ(got, elements(large[0], TensorKind::kMomentum, 1, boxes));
}

TEST(CheckpointFiles, EveryByteIsWrittenOnceAndRanksWithoutTensorsWriteNoFile) {
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 1, {2, 1, 3, false}).ok);
  const Checkpoint checkpoint(scratch / "step-000001");
  std::vector<std::string> names;
  for (const FileEntry& file : checkpoint.manifest().files) names.push_back(file.name);
  EXPECT_EQ(names, (std::vector<std::string>{"rank-0000.h5", "rank-0001.h5", "model.h5"}));
  const std::vector<std::string> there = {"latest", "step-000001"};
  EXPECT_EQ(scratch.names(), there);
  EXPECT_EQ(read_file(scratch / "latest"), "step-000001\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch / "step-000001"), {}), 4);
}

// Of any file: the same state saved again is the same bytes, whenever it was.
TEST(CheckpointFiles, TheSameStateIsTheSameBytes) {
  const std::vector<SavedTensor> tensors = {{"a", {1000, 300}, 0}, {"b", {77, 10}, 1}, {"c", {9}, -1}};
  const ScratchFolder first, second;
  const TestLayout layout = {2, 1, 2, true};
  ASSERT_TRUE(save(first.path(), 1, layout, {}, tensors).ok);
  const std::time_t before = std::time(nullptr);
  while (std::time(nullptr) == before) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ASSERT_TRUE(save(second.path(), 1, layout, {}, tensors).ok);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(first / "step-000001")) {
    const std::string name = entry.path().filename();
    EXPECT_EQ(read_file(entry.path()), read_file(second / "step-000001" / name)) << name;
    ++files;
  }
  EXPECT_EQ(files, 6);  // four ranks, the view, the manifest
}

// HDF5's own filter checks our checksums, and its virtual datasets find our pieces.
TEST(CheckpointFiles, Hdf5ItselfReadsFilesAndView) {
  const std::vector<SavedTensor> tensors = {{"a", {1000, 300}, 0}, {"b", {77, 10}, 1}, {"c", {9}, -1}};
  const ScratchFolder scratch;
  const TestLayout layout = {2, 1, 3, true};
  ASSERT_TRUE(save(scratch.path(), 1, layout, {}, tensors).ok);
  const fs::path folder = scratch / "step-000001";
  const auto read = [&](const fs::path& path, const std::string& dataset, int64_t count) {
    const Hdf5Lock lock;
    std::vector<std::byte> data(static_cast<size_t>(count) * 4);
    const H5Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), path, "open");
    const H5Id id(H5Dopen2(file, dataset.c_str(), H5P_DEFAULT), path, "open dataset");
    h5_check(H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data()), path, "read");
    return data;
  };
  const Checkpoint checkpoint(folder);
  for (const TensorEntry& entry : checkpoint.manifest().tensors) {
    const SavedTensor& tensor =
        *std::find_if(tensors.begin(), tensors.end(), [&](auto& t) { return t.name == entry.name; });
    for (const Piece& piece : entry.pieces) {
      const auto& name = checkpoint.manifest().files[static_cast<size_t>(piece.file)].name;
      EXPECT_EQ(read(folder / name, dataset_name(entry, piece.dataset), piece.box.num_elements()),
                elements(tensor, entry.kind, 1, {piece.box}));
    }
    const std::string whole = std::string(name(entry.kind)) + "/" + entry.name;
    EXPECT_EQ(read(folder / kViewFile, whole, entry.shape.num_elements()),
              elements(tensor, entry.kind, 1, {Box::whole(entry.shape)}));
  }
  // The filter is there and looks: one flipped byte of data, and HDF5 refuses.
  std::string bytes = read_file(folder / "rank-0000.h5");
  const std::vector<std::byte> first = elements(tensors[0], TensorKind::kWeight, 1, {{{0, 0}, {1, 3}}});
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(first.data()), 12));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 5] = static_cast<char>(bytes[at + 5] ^ 16);
  write_file(folder / "rank-0000.h5", bytes);
  EXPECT_THROW(read(folder / "rank-0000.h5", "weight/a#0", 1), DataError);
}

constexpr const char* kPython = "/usr/bin/python3";  // the one that Debian's h5py is for

TEST(CheckpointFiles, H5pyReadsThem) {
  const std::vector<SavedTensor> tensors = {{"a", {700, 600}, 0},
                                            {"model.norm.weight", {9}, -1},
                                            {"f16", {5, 7}, 1, DType::kF16},
                                            {"i64", {9}, -1, DType::kI64}};
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 1, {2, 2, 3, true}, {}, tensors).ok);
  const fs::path script = fs::path(test_data()).parent_path() / "checkpoint" / "read_with_h5py.py",
                 out = scratch / "out";
  fs::create_directory(out);
  const std::string command =
      fmt::format("cd / && {} {} {} {} > {}", kPython, script.string(), (scratch / "step-000001").string(),
                  out.string(), (out / "list").string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  for (TensorKind kind : kTensorKinds) {
    for (const SavedTensor& tensor : tensors) {
      const std::string got = read_file(out / fmt::format("{}.{}", name(kind), tensor.name));
      const std::vector<std::byte> want = elements(tensor, kind, 1, {Box::whole(tensor.shape)});
      EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin(), want.end(), [](char a, std::byte b) {
        return static_cast<std::byte>(a) == b;
      })) << tensor.name;
    }
  }
}

// h5py has no bf16 and widens it.
TEST(CheckpointFiles, H5pyWidensBf16) {
  const std::vector<BFloat16> values = {to_bf16(1.5f), to_bf16(-3e38f), to_bf16(1e-40f), to_bf16(0)};
  const ScratchFolder scratch;
  const Slice slice{"b", TensorKind::kWeight, DType::kBF16, {4}, {{{0}, {4}}}, values.data()};
  ASSERT_TRUE(save_checkpoint(job_at(scratch.path(), 1), {&slice, 1}).ok);
  const fs::path script = fs::path(test_data()).parent_path() / "checkpoint" / "read_with_h5py.py";
  const std::string folder = scratch.path().string();
  ASSERT_EQ(
      std::system(fmt::format("{} {} {}/step-000001 {} > {}/list", kPython, script.string(), folder, folder, folder)
                      .c_str()),
      0);
  EXPECT_EQ(read_file(scratch / "list"), "weight b float32 4\n");
  const std::string got = read_file(scratch / "weight.b");
  ASSERT_EQ(got.size(), 16u);
  for (size_t i = 0; i < 4; ++i) {
    float value = 0;
    std::memcpy(&value, got.data() + 4 * i, 4);
    EXPECT_EQ(value, to_float(values[i]));
  }
}

TEST(CheckpointFiles, OtherTypesKeepTheirBits) {
  const std::vector<SavedTensor> tensors = {{"bf16", {5, 7}, 0, DType::kBF16},
                                            {"f16", {5, 7}, 1, DType::kF16},
                                            {"i32", {9}, -1, DType::kI32},
                                            {"i64", {9}, -1, DType::kI64},
                                            {"u8", {3, 5}, 0, DType::kU8}};
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 1, {2, 1, 2, true}, {}, tensors).ok);
  Checkpoint checkpoint(scratch / "step-000001");
  expect_state_of(checkpoint, 1, tensors);
  EXPECT_EQ(checkpoint.verify(), std::vector<std::string>{});
}

TEST(CheckpointFiles, RanksThatDisagreeAreNotCommitted) {
  const ScratchFolder scratch;
  OwnedSlices first = owned({2, 1, 1, true}, 1, 4), second = owned({2, 1, 1, true}, 0, 4);
  const auto commit = [&] {
    const std::string token = new_token();
    EXPECT_TRUE(save_checkpoint(job_at(scratch.path(), 4, 1, 2, token), first.slices).ok);
    const SaveOutcome outcome = save_checkpoint(job_at(scratch.path(), 4, 0, 2, token), second.slices);
    EXPECT_FALSE(outcome.ok);
    EXPECT_TRUE(scratch.names().empty());
    return outcome.problem;
  };
  const OwnedSlices good = owned({2, 1, 1, true}, 1, 4);
  first.slices[0].boxes = {{{0, 0}, {9, 8}}};  // of rank 0
  EXPECT_NE(commit().find("are there twice"), std::string::npos);
  first.slices = good.slices;
  first.slices[0].boxes.clear();
  EXPECT_NE(commit().find("80 of 152 elements are there"), std::string::npos);
  first.slices = good.slices;
  first.slices[0].shape = {20, 8};
  EXPECT_NE(commit().find("ranks saved"), std::string::npos);
}

std::string newest(const CheckpointFolder& folder) { return folder.newest_valid().path.filename(); }

TEST(CheckpointFolderTest, NewestIsTheOneSavedLast) {
  const ScratchFolder scratch;
  const CheckpointFolder folder(scratch / "checkpoints");
  EXPECT_FALSE(folder.ever_begun());
  expect_error(ExitCode::kNoCheckpoint, {"no checkpoint"}, [&] { folder.newest_valid(); });
  for (int64_t step : {100, 1234567, 300}) ASSERT_TRUE(save(folder.path(), step).ok);
  EXPECT_EQ(newest(folder), "step-000300");  // the run went back before it
  EXPECT_EQ(read_file(folder.path() / "latest"), "step-000300\n");
  for (const char* text : {"", "step-000100", "../../etc"}) {
    write_file(folder.path() / "latest", text);
    EXPECT_EQ(newest(folder), "step-000300");
  }
  fs::remove(folder.path() / "step-000300" / kManifestFile);
  EXPECT_EQ(newest(folder), "step-1234567");
}

TEST(CheckpointFolderTest, FallsBackAndSaysWhy) {
  const ScratchFolder scratch;
  const CheckpointFolder folder(scratch.path());
  for (int64_t step : {100, 200, 300}) ASSERT_TRUE(save(scratch.path(), step).ok);
  fs::create_directory(scratch / "step-000400.tmp-x");
  std::string bytes = read_file(scratch / "step-000300/rank-0000.h5");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(scratch / "step-000300/rank-0000.h5", bytes);
  write_file(scratch / "step-000200/manifest.json", "{}");
  const Chosen chosen = folder.newest_valid();
  EXPECT_EQ(chosen.path.filename(), "step-000100");
  ASSERT_EQ(chosen.passed_over.size(), 2u);
  EXPECT_NE(chosen.passed_over[0].find("step-000200: "), std::string::npos);
  EXPECT_NE(chosen.passed_over[0].find("does not end with its hash"), std::string::npos);
  EXPECT_NE(chosen.passed_over[1].find("step-000300: "), std::string::npos);
  EXPECT_NE(chosen.passed_over[1].find("XXH3"), std::string::npos);
  fs::resize_file(scratch / "step-000100/rank-0000.h5", 10);
  expect_error(ExitCode::kNoCheckpoint, {"none of 3", "step-000100", "step-000200", "step-000300", "10 bytes"},
               [&] { folder.newest_valid(); });
  EXPECT_TRUE(folder.ever_begun());
}

TEST(CheckpointFolderTest, KeepsTheNewestAndLeavesDamagedOnes) {
  const ScratchFolder scratch;
  for (int64_t step : {100, 200, 300}) ASSERT_TRUE(save(scratch.path(), step).ok);
  write_file(scratch / "step-000100/manifest.json", "{}");
  fs::create_directory(scratch / "step-000050.tmp-t50");
  write_file(scratch / "step-000050.tmp-t50/rank-0000.h5", "x");
  fs::create_directory(scratch / "step-000060.del-t60");
  fs::create_directory(scratch / "my-notes");
  const SaveOutcome outcome = save(scratch.path(), 400, {}, 2);
  ASSERT_TRUE(outcome.ok);
  EXPECT_TRUE(outcome.warnings.empty());
  EXPECT_EQ(scratch.names(),
            (std::vector<std::string>{"latest", "my-notes", "step-000100", "step-000300", "step-000400"}));
}

void flip_a_bit(const fs::path& file) {
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(file, bytes);
}

// --keep 2 keeps two that load, however many newer ones do not.
TEST(CheckpointFolderTest, KeepCountsOnlyWholeCheckpoints) {
  const ScratchFolder scratch;
  for (int64_t step : {100, 200, 300, 400, 500}) ASSERT_TRUE(save(scratch.path(), step).ok);
  flip_a_bit(scratch / "step-000500/rank-0000.h5");
  fs::resize_file(scratch / "step-000400/rank-0000.h5", 10);
  fs::remove(scratch / "step-000300/model.h5");
  SaveOutcome outcome = save(scratch.path(), 600, {}, 2);
  ASSERT_TRUE(outcome.ok);
  ASSERT_EQ(outcome.warnings.size(), 3u);
  EXPECT_NE(outcome.warnings[0].find("--keep does not count step-000500"), std::string::npos);
  EXPECT_NE(outcome.warnings[0].find("XXH3"), std::string::npos);
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000200", "step-000300", "step-000400",
                                                       "step-000500", "step-000600"}));
  flip_a_bit(scratch / "step-000200/rank-0000.h5");  // the last but the newest: nothing is left to be removed
  ASSERT_TRUE(save(scratch.path(), 700, {}, 3).ok);
  EXPECT_EQ(scratch.names().size(), 7u);
}

// What is known is not read again, until it changes.
TEST(CheckpointFolderTest, EachCheckpointIsReadOnceForKeep) {
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 100).ok);
  const fs::path path = scratch / "step-000100";
  CheckedCheckpoints checked;
  bool is_new = false;
  EXPECT_EQ(checked.problem_of(path, is_new), "");
  EXPECT_TRUE(is_new);
  EXPECT_EQ(checked.problem_of(path, is_new), "");
  EXPECT_FALSE(is_new);
  flip_a_bit(path / "rank-0000.h5");
  EXPECT_NE(checked.problem_of(path, is_new).find("XXH3"), std::string::npos);
  EXPECT_TRUE(is_new);
  checked.trust(path);
  EXPECT_EQ(checked.problem_of(path, is_new), "");
}

// A manifest that can not be read hides its sequence: a save that does not know it fails, one that does goes on, as
// in a run of many days on a disk with a bad sector.
TEST(CheckpointFolderTest, AnUnreadableManifestTiesNoSequence) {
  const ScratchFolder scratch;
  for (int64_t step : {100, 200}) ASSERT_TRUE(save(scratch.path(), step).ok);
  const Fault unreadable{Call::kOpen, 1, Fault::Action::kFail, EIO, true, "step-000200/manifest.json"};
  const auto save_300 = [&](std::optional<int64_t> last_sequence) {
    const OwnedSlices mine = owned({}, 0, 300);
    SaveJob job = job_at(scratch.path(), 300);
    job.keep = 1;
    job.last_sequence = last_sequence;
    arm(unreadable);
    const SaveOutcome outcome = save_checkpoint(job, mine.slices);
    disarm();
    return outcome;
  };
  EXPECT_NE(save_300(std::nullopt).problem.find("Input/output error"), std::string::npos);
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000100", "step-000200"}));
  const SaveOutcome outcome = save_300(2);
  ASSERT_TRUE(outcome.ok) << outcome.problem;
  EXPECT_EQ(outcome.sequence, 3);
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000200", "step-000300"}));
  EXPECT_EQ(newest(CheckpointFolder(scratch.path())), "step-000300");
  arm(unreadable);  // it might be newer, for all a reader knows
  expect_error(ExitCode::kData, {"step-000200/manifest.json", "Input/output error", "--resume"},
               [&] { CheckpointFolder(scratch.path()).newest_valid(); });
  disarm();
}

// Somebody moved a checkpoint to a larger disk and left a link to it.
TEST(CheckpointFolderTest, RotationRemovesLinksAndNotWhatTheyName) {
  const ScratchFolder scratch, archive;
  ASSERT_TRUE(save(archive.path(), 100).ok);
  fs::create_directory_symlink(archive / "step-000100", scratch / "step-000100");
  fs::create_directory_symlink(archive.path(), scratch / "step-000050.tmp-t50");
  EXPECT_EQ(newest(CheckpointFolder(scratch.path())), "step-000100");
  const SaveOutcome outcome = save(scratch.path(), 200, {}, 1);
  ASSERT_TRUE(outcome.ok);
  EXPECT_TRUE(outcome.warnings.empty());
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000200"}));
  EXPECT_TRUE(Checkpoint(archive / "step-000100").verify().empty());
}

TEST(CheckpointFolderTest, OfARunIsWhereItSaves) {
  const ScratchFolder scratch;
  const auto config = [&](const char* text) { write_file(scratch / "run/config.json", text); };
  fs::create_directories(scratch / "run/checkpoints");
  fs::create_directory(scratch / "elsewhere");
  EXPECT_EQ(checkpoints_of(scratch / "run"), scratch / "run/checkpoints");
  EXPECT_EQ(checkpoints_of(scratch / "elsewhere"), scratch / "elsewhere");
  expect_error(ExitCode::kData, {"is no folder"}, [&] { checkpoints_of(scratch / "nowhere"); });
  for (const char* other : {"{}", "[1]", "{\"save\": 7}", "{\"save\": \"\"}", "{", ""}) {
    config(other);
    EXPECT_EQ(checkpoints_of(scratch / "run"), scratch / "run/checkpoints") << other;
  }
  config(fmt::format("{{\"save\": \"{}\"}}", (scratch / "elsewhere").string()).c_str());
  EXPECT_EQ(checkpoints_of(scratch / "run"), scratch / "elsewhere");
  fs::remove(scratch / "elsewhere");
  expect_error(ExitCode::kData, {"saves to", "elsewhere", "no such folder"},
               [&] { checkpoints_of(scratch / "run"); });
}

TEST(CheckpointFolderTest, TheSameStepAgainReplaces) {
  const ScratchFolder scratch;
  ASSERT_TRUE(save(scratch.path(), 100).ok);
  const SaveOutcome again = save(scratch.path(), 100, {2, 1, 1, true});
  ASSERT_TRUE(again.ok) << again.problem;
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000100"}));
  const Checkpoint checkpoint(scratch / "step-000100");
  EXPECT_EQ(checkpoint.manifest().sequence, 2);
  // Died between the two renames: the one of before is still found.
  fs::rename(scratch / "step-000100", scratch / "step-000100.old-t1");
  EXPECT_EQ(newest(CheckpointFolder(scratch.path())), "step-000100.old-t1");
  ASSERT_TRUE(save(scratch.path(), 100).ok);
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"latest", "step-000100"}));
}

}  // namespace
}  // namespace trine
