// Files that a disk damaged, and files that somebody made: never wrong values, a crash or a giant allocation.
#include <gmock/gmock.h>
#include <hdf5.h>
#include <random>
#include <sys/stat.h>

#include "base/json.h"
#include "checkpoint/hdf5.h"
#include "tests/checkpoint/saved_model.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using namespace testing;
using Json = nlohmann::ordered_json;

const std::vector<SavedTensor> kTensors = {{"w", {50, 60}, 0}, {"v", {9}, -1}};

// A manifest's JSON with a hash that is right.
std::string sealed(Json json) {
  json.erase("hash");
  std::string text = json.dump();
  text.pop_back();
  text += ",\n";
  return text + "\"hash\": \"" + hex(xxh3(text)) + "\"}\n";
}

// A good checkpoint, whose files a test may replace.
struct OneCheckpoint {
  OneCheckpoint() { EXPECT_TRUE(save(scratch.path(), 1, {1, 1, 2, true}, {}, kTensors).ok); }
  Json manifest() const { return Json::parse(read_file(folder / kManifestFile)); }
  void set_manifest(const Json& json) const { write_file(folder / kManifestFile, sealed(json)); }
  // Makes size and hash in the manifest those of the files.
  void reseal() const {
    Json json = manifest();
    for (Json& file : json["files"]) {
      const std::string contents = read_file(folder / file["name"].get<std::string>());
      file["bytes"] = contents.size();
      file["xxh3"] = hex(xxh3(contents));
    }
    set_manifest(json);
  }
  // Reads everything; true if all was right, false for a DataError.
  bool loads() const {
    try {
      Checkpoint checkpoint(folder);
      const auto problems = checkpoint.verify();
      expect_state_of(checkpoint, 1, kTensors);
      EXPECT_EQ(problems, std::vector<std::string>{});
      return true;
    } catch (const DataError&) {
      return false;
    }
  }
  ScratchFolder scratch;
  fs::path folder = scratch / "step-000001";
};

// Calls f(damaged) for `times` random flips of a bit and as many truncations.
template <typename F>
void damage(const std::string& good, int times, uint64_t seed, F f) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < times; ++i) {
    std::string bad = good;
    char& byte = bad[random() % bad.size()];
    byte = static_cast<char>(byte ^ static_cast<char>(1u << random() % 8));
    f(bad);
    f(good.substr(0, random() % good.size()));
  }
}

void damage_each_file(int times) {
  const OneCheckpoint saved;
  ASSERT_TRUE(save(saved.scratch.path(), 2, {1, 1, 2, true}, {}, kTensors).ok);
  const CheckpointFolder folder(saved.scratch.path());
  const fs::path newest = saved.scratch / "step-000002";
  for (const char* file : {"rank-0000.h5", "rank-0001.h5", "model.h5", "manifest.json"}) {
    const std::string good = read_file(newest / file);
    damage(good, times, 1, [&](const std::string& bad) {
      write_file(newest / file, bad);
      const Chosen chosen = folder.newest_valid();
      ASSERT_EQ(chosen.path, saved.folder) << file;
      ASSERT_EQ(chosen.passed_over.size(), 1u);
      ASSERT_NE(chosen.passed_over[0].find(file), std::string::npos) << chosen.passed_over[0];
    });
    write_file(newest / file, good);
  }
  const std::string latest = read_file(saved.scratch / "latest");
  damage(latest, times, 2, [&](const std::string& bad) {
    write_file(saved.scratch / "latest", bad);
    ASSERT_EQ(folder.newest_valid().path, newest);
  });
}

TEST(Damage, IsNeverLoaded) { damage_each_file(50); }
TEST(Damage, LongIsNeverLoaded) { damage_each_file(1000); }

// The hash in the manifest made to match: HDF5's checksums of metadata and ours of data have to notice.
void damage_behind_the_hash(int times) {
  const OneCheckpoint saved;
  const std::string good = read_file(saved.folder / "rank-0000.h5");
  int refused = 0;
  damage(good, times, 3, [&](const std::string& bad) {
    write_file(saved.folder / "rank-0000.h5", bad);
    saved.reseal();
    if (!saved.loads()) ++refused;
    ASSERT_FALSE(::testing::Test::HasFailure());
  });
  EXPECT_GT(refused, times);  // the rest hit bytes that mean nothing
}

TEST(Damage, BehindTheHashIsNoticedToo) { damage_behind_the_hash(100); }
TEST(Damage, LongBehindTheHashIsNoticedToo) { damage_behind_the_hash(3000); }

// What HDF5 says of a read that fails is that something is not there, or is damaged: the reason is the file's.
TEST(Damage, AReadThatFailsInsideHdf5IsToldAsWhatItIs) {
  const OneCheckpoint saved;
  Checkpoint checkpoint(saved.folder);
  checkpoint.check_files();
  std::vector<float> row(60), all(3000);
  const std::vector<Box> first = {{{0, 0}, {1, 60}}}, whole = {{{0, 0}, {50, 60}}};
  checkpoint.read(checkpoint.tensor(TensorKind::kWeight, "w"), first, std::span(row));  // HDF5 has the file open
  for (const char* file : {"rank-0000.h5", "rank-0001.h5"})
    if (fs::exists(saved.folder / file)) fs::resize_file(saved.folder / file, 600);
  for (const TensorKind kind : {TensorKind::kMomentum, TensorKind::kVariance}) {
    const std::string message = expect_error(ExitCode::kData, {"rank-000", "ends at byte"}, [&] {
      checkpoint.read(checkpoint.tensor(kind, "w"), whole, std::span(all));
    });
    EXPECT_EQ(message.find("is not there"), std::string::npos) << message;
  }
}

TEST(Manipulated, FieldsOfTheManifest) {
  const OneCheckpoint saved;
  const Json good = saved.manifest();
  ASSERT_TRUE(saved.loads());
  const std::vector<Json> values = {nullptr,
                                    -1,
                                    0,
                                    1,
                                    1e308,
                                    INT64_MAX,
                                    UINT64_MAX,
                                    "x",
                                    "../x",
                                    "",
                                    Json::array(),
                                    Json::object(),
                                    true,
                                    "0000000000000000",
                                    Json::array({INT64_MAX, INT64_MAX})};
  // Each field, and each first element, replaced by each value and removed.
  const std::function<void(Json&, Json&)> visit = [&](Json& root, Json& node) {
    if (&node == &root["config"]) return;  // anything may stand there
    const auto attempt = [&] {
      saved.set_manifest(root);
      try {
        Checkpoint checkpoint(saved.folder);
        checkpoint.verify();
        for (const TensorEntry& tensor : checkpoint.manifest().tensors) ASSERT_LE(tensor.size_bytes(), 12000);
      } catch (const DataError& error) {
        ASSERT_NE(std::string(error.what()).find("[checkpoint] "), std::string::npos);
      }
    };
    for (auto it = node.begin(); it != node.end(); ++it) {
      const Json before = *it;
      for (const Json& value : values) *it = value, attempt();
      *it = before;
      if (it->is_structured()) visit(root, *it);
      if (node.is_array()) break;
    }
  };
  Json json = good;
  visit(json, json);
  for (const auto& [key, value] : good.items()) {
    Json without = good;
    without.erase(key);
    saved.set_manifest(without);
    if (key != "hash") {
      EXPECT_FALSE(saved.loads()) << key;
    }
  }
  saved.set_manifest(good);
  EXPECT_TRUE(saved.loads());
}

TEST(Manipulated, ManifestsThatDoNotAddUp) {
  const OneCheckpoint saved;
  const Json good = saved.manifest();
  const auto refused = [&](const std::string& why, const std::function<void(Json&)>& change) {
    Json json = good;
    change(json);
    saved.set_manifest(json);
    expect_error(ExitCode::kData, {"manifest.json", why}, [&] { Checkpoint{saved.folder}; });
  };
  const auto tensor = [](Json& json) -> Json& { return json["tensors"][1]; };
  ASSERT_EQ(tensor(const_cast<Json&>(good))["name"], "w");
  for (const char* name :
       {"../latest", "/etc/passwd", "a/b", "..", ".hidden", "", "manifest.json", "rank-0001.h5"}) {
    refused("plain name", [&](Json& json) { json["files"][0]["name"] = name; });
  }
  refused("version 2", [](Json& json) { json["version"] = 2; });
  refused("elements are there", [&](Json& json) { tensor(json)["pieces"].erase(0); });
  refused("there twice", [&](Json& json) { tensor(json)["pieces"].push_back(tensor(json)["pieces"][0]); });
  refused("impossible shape", [&](Json& json) { tensor(json)["shape"] = {INT64_MAX, INT64_MAX}; });
  refused("lies outside", [&](Json& json) { tensor(json)["pieces"][0]["start"] = {1000, 0}; });
  refused("its pieces need", [&](Json& json) {
    tensor(json)["shape"] = {1000000, 1000000};
    tensor(json)["pieces"] =
        Json::array({{{"file", 0}, {"dataset", 0}, {"start", {0, 0}}, {"count", {1000000, 1000000}}}});
  });
  refused("listed twice", [&](Json& json) {
    Json again = tensor(json);
    for (Json& piece : again["pieces"]) tensor(json)["pieces"].erase(0), (void)piece;
    tensor(json)["pieces"] = Json::array({again["pieces"][0]});
    again["pieces"].erase(0);
    json["tensors"].push_back(again);
  });
  refused("a tensor is called", [&](Json& json) { tensor(json)["name"] = "a/../b"; });
  write_file(saved.folder / kManifestFile, std::string(200000, '[') + "\n");
  EXPECT_FALSE(saved.loads());
  std::string deep = "{\"a\": " + std::string(200000, '[') + std::string(200000, ']') + ",\n";
  deep += "\"hash\": \"" + hex(xxh3(deep)) + "\"}\n";
  write_file(saved.folder / kManifestFile, deep);
  EXPECT_FALSE(saved.loads());
}

TEST(Manipulated, FilesThatAreNone) {
  const OneCheckpoint saved;
  for (const char* file : {"rank-0000.h5", "manifest.json"}) {
    const fs::path path = saved.folder / file, aside = saved.scratch / "aside";
    fs::rename(path, aside);
    EXPECT_FALSE(saved.loads());
    fs::create_symlink(aside, path);
    EXPECT_FALSE(saved.loads());
    fs::remove(path);
    fs::create_directory(path);
    EXPECT_FALSE(saved.loads());
    fs::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_FALSE(saved.loads());
    fs::remove(path);
    fs::rename(aside, path);
    EXPECT_TRUE(saved.loads());
  }
}

// Puts something else in place of dataset "weight/w#0" ([25, 60] f32 in one chunk) of a file
// that is otherwise good.
class ManipulatedHdf5 : public ::testing::Test {
 protected:
  using Make = std::function<void(hid_t file, const char* name)>;

  std::string refusal(const Make& make) {
    const fs::path path = saved.folder / "rank-0000.h5";
    const std::string good = read_file(path);
    {
      const Hdf5Lock lock;
      const H5Id file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), path, "open");
      h5_check(H5Ldelete(file, kName, H5P_DEFAULT), path, "delete");
      make(file, kName);
    }
    saved.reseal();
    std::string what = "nothing";
    try {
      Checkpoint checkpoint(saved.folder);
      std::vector<std::byte> out(12000);
      const std::vector<Box> all = {{{0, 0}, {50, 60}}};
      checkpoint.read(checkpoint.tensor(TensorKind::kWeight, "w"), all, std::span(out));
    } catch (const DataError& error) {
      what = error.what();
    }
    write_file(path, good);
    saved.reseal();
    EXPECT_TRUE(saved.loads());
    return what;
  }

  // A dataset of these properties, with one chunk written as it should be.
  static Make dataset(hid_t type, std::vector<hsize_t> extents, std::vector<hsize_t> chunk,
                      const std::function<void(hid_t)>& change = {}, bool fletcher = true) {
    return [=](hid_t file, const char* name) {
      const H5Id space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), "", "space");
      const H5Id creation(H5Pcreate(H5P_DATASET_CREATE), "", "plist");
      if (!chunk.empty()) H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
      if (fletcher && !chunk.empty()) H5Pset_fletcher32(creation);
      if (change) change(creation);
      const H5Id id(H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT), "", "dataset");
    };
  }

  static constexpr const char* kName = "weight/w#0";
  OneCheckpoint saved;
};

TEST_F(ManipulatedHdf5, IsRefused) {
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal([](hid_t, const char*) {}), HasSubstr("is not there"));
  EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, {25, 60}, {25, 60})), HasSubstr("a chunk of 0 bytes"));
  for (hid_t type : {H5T_IEEE_F64LE, H5T_STD_I32LE, H5T_IEEE_F32BE, H5T_C_S1}) {
    EXPECT_THAT(refusal(dataset(type, {25, 60}, {25, 60})), HasSubstr("not of type f32"));
  }
  const hsize_t huge = hsize_t{1} << 60;
  for (const auto& shape : {std::vector<hsize_t>{huge, 60}, {60, 25}, {25, 60, 1}, {1500}}) {
    std::vector<hsize_t> chunk(shape.size(), 1);
    EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, shape, chunk)), HasSubstr("not of shape"));
  }
  for (const auto& chunk : {std::vector<hsize_t>{1, 1}, {25, 59}, {}}) {
    EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, {25, 60}, chunk)), HasSubstr("not in chunks"));
  }
  EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, {25, 60}, {25, 60}, {}, false)), HasSubstr("not in chunks"));
  EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, {25, 60}, {25, 60}, [](hid_t list) { H5Pset_shuffle(list); })),
              HasSubstr("not in chunks"));
  EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, {25, 60}, {},
                              [](hid_t list) { H5Pset_external(list, "/etc/passwd", 0, H5F_UNLIMITED); })),
              HasSubstr("not in chunks"));
}

TEST_F(ManipulatedHdf5, LinksAndCyclesAreRefused) {
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal([](hid_t file, const char* name) {
                H5Lcreate_soft("/weight/w#1", file, name, H5P_DEFAULT, H5P_DEFAULT);
              }),
              HasSubstr("is not there"));
  EXPECT_THAT(
      refusal([](hid_t file, const char* name) { H5Lcreate_soft(name, file, name, H5P_DEFAULT, H5P_DEFAULT); }),
      HasSubstr("is not there"));
  EXPECT_THAT(refusal([](hid_t file, const char* name) {
                H5Lcreate_external("../latest", "/weight/w#0", file, name, H5P_DEFAULT, H5P_DEFAULT);
              }),
              HasSubstr("is not there"));
  EXPECT_THAT(refusal([](hid_t file, const char* name) {
                H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
              }),
              HasSubstr("opening a dataset failed"));
  EXPECT_THAT(refusal(dataset(H5T_IEEE_F32LE, {25, 60}, {},
                              [](hid_t list) {
                                const hsize_t extents[] = {25, 60};
                                const hid_t space = H5Screate_simple(2, extents, nullptr);
                                H5Pset_virtual(list, space, ".", "/weight/w#0", space);  // of itself
                                H5Sclose(space);
                              })),
              HasSubstr("not in chunks"));
  EXPECT_THAT(refusal([](hid_t file, const char*) {
                H5Lmove(file, "weight", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT);
                H5Lcreate_soft("/elsewhere", file, "weight", H5P_DEFAULT, H5P_DEFAULT);
              }),
              HasSubstr("is not there"));
}

TEST_F(ManipulatedHdf5, ChunksAreRefused) {
  using ::testing::HasSubstr;
  const auto with_chunk = [](uint32_t skipped_filters, size_t bytes) {
    return [=](hid_t file, const char* name) {
      dataset(H5T_IEEE_F32LE, {25, 60}, {25, 60})(file, name);
      const H5Id id(H5Dopen2(file, name, H5P_DEFAULT), "", "open");
      const hsize_t start[] = {0, 0};
      const std::vector<std::byte> data(bytes, std::byte{1});
      h5_check(H5Dwrite_chunk(id, H5P_DEFAULT, skipped_filters, start, bytes, data.data()), "", "write");
    };
  };
  EXPECT_THAT(refusal(with_chunk(0, 6004)), HasSubstr("does not match its checksum"));
  EXPECT_THAT(refusal(with_chunk(1, 6004)), HasSubstr("without checksum"));
  EXPECT_THAT(refusal(with_chunk(0, 100)), HasSubstr("a chunk of 100 bytes"));
  EXPECT_THAT(refusal(with_chunk(0, 60000)), HasSubstr("a chunk of 60000 bytes"));
}

}  // namespace
}  // namespace trine
