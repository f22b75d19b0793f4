#include "cluster/profile.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;

TEST(Profile, AllBuiltInOnesLoadAndComeBackWhole) {
  const std::vector<std::string> names = built_in_profiles();
  for (const char* name : {"rtx4090", "rtx4090-p2p", "rtx4090-8x200g", "rtx3090-nvlink", "rtx5090", "l40s",
                           "a100-40-sxm", "a100-80-pcie", "a100-80-sxm", "h100-pcie", "h100-sxm", "h800-sxm",
                           "h200-sxm", "b200", "desktop-4090-10g", "article-4090", "article-a100", "article-h100"})
    EXPECT_THAT(names, ::testing::Contains(name));
  for (const std::string& name : names) {
    const Profile profile = load_profile(name);
    EXPECT_EQ(profile.name, name);
    EXPECT_EQ(parse_profile(to_json(profile).dump(), "copy"), profile) << name;
    for (const ProfileField& field : profile_fields()) {
      const Provenance& from = profile.sources.at(std::string(field.path));
      EXPECT_FALSE(from.source.empty()) << name << " " << field.path;
      EXPECT_NE(from.certainty, Certainty::kGiven) << name << " " << field.path;
    }
  }
}

// A price means little without its year. The article's are of 2023.
TEST(Profile, PricesHaveAYear) {
  for (const std::string& name : built_in_profiles())
    for (const char* path : {"price.device_usd", "host.usd", "price.hour_usd"}) {
      const std::string source = load_profile(name).sources.at(path).source;
      EXPECT_TRUE(source.find(" 20") != source.npos || source.find("(20") != source.npos || source == "not used")
          << name << " " << path << ": " << source;
    }
}

// NVIDIA's white papers: dense, f32 accumulation.
TEST(Profile, RatesAreDenseAndOfOneDirection) {
  EXPECT_NEAR(load_profile("rtx4090").device.bf16_tflops, 165.2, 0.1);
  EXPECT_NEAR(load_profile("rtx4090").device.f16_accumulate_tflops, 330.3, 0.1);
  EXPECT_NEAR(load_profile("a100-80-sxm").device.bf16_tflops, 312, 0.1);
  EXPECT_NEAR(load_profile("h100-sxm").device.bf16_tflops, 989.4, 0.1);
  EXPECT_EQ(load_profile("h100-sxm").host.nvlink_gb_per_s, 450);
  EXPECT_EQ(load_profile("h800-sxm").host.nvlink_gb_per_s, 200);
  EXPECT_NEAR(load_profile("rtx4090").device.peak_flops(DType::kBF16), 165.2e12, 1e9);
}

TEST(Profile, ANameThatIsNoneNamesTheNearest) {
  expect_error(ExitCode::kConfig, {"rtx4009", "rtx4090", "no built-in profile and no file"},
               [] { load_profile("rtx4009"); });
  expect_error(ExitCode::kData, {"File name too long"}, [] { load_profile(std::string(300, 'x')); });
}

TEST(Profile, MistakesOfAFileAreAllNamed) {
  nlohmann::json json = nlohmann::json::parse(to_json(load_profile("h100-sxm")).dump());
  json["device"]["memory_gb_per_s"] = -3;
  json["device"]["link_gb_per_s"] = "fast";
  json["device"]["memory_gibb"] = 80;
  json["host"].erase("devices");
  expect_error(ExitCode::kConfig,
               {"device.memory_gb_per_s is -3", "device.link_gb_per_s is \"fast\"",
                "device.memory_gibb is no number", "Did you mean device.memory_gib?", "it lacks host.devices."},
               [&] { parse_profile(json.dump(), "mine.json"); });
  expect_error(ExitCode::kData, {"mine.json"}, [] { parse_profile("{\"device\": ", "mine.json"); });
  expect_error(ExitCode::kData, {"mine.json"}, [] { parse_profile("[]", "mine.json"); });
}

// Figures of data sheets that are not what they seem.
TEST(Profile, SlipsOfUnitsAreSeen) {
  const auto changed = [](const char* path, double value) {
    Profile profile = load_profile("h100-sxm");
    set_values(profile, std::vector<std::string>{fmt::format("{}={}", path, value)});
  };
  expect_error(ExitCode::kConfig, {"sparsity"}, [&] {
    nlohmann::json json = nlohmann::json::parse(to_json(load_profile("rtx4090")).dump());
    json["device"]["peak_tflops"]["bf16"] = 3958;
    parse_profile(json.dump(), "x");
  });
  expect_error(ExitCode::kConfig, {"both directions"}, [&] { changed("host.nvlink_gb_per_s", 1800); });
  expect_error(ExitCode::kConfig, {"Gb/s"}, [&] { changed("network.nic_gb_per_s", 400); });
}

// The other figure of the same data sheet, in a file that names the device. --set asks "what if" and may.
TEST(Profile, AKnownDeviceIsHeldAgainstItsDataSheet) {
  struct Slip {
    const char *profile, *pointer, *says;
    double value;
  };
  for (const Slip& slip : {Slip{"h100-sxm", "/device/peak_tflops/bf16", "sparsity", 1978.9},
                           Slip{"a100-80-sxm", "/device/peak_tflops/fp16", "sparsity", 624},
                           Slip{"rtx4090", "/device/peak_tflops/bf16", "f16 accumulation", 330.3},
                           Slip{"l40s", "/device/peak_tflops/bf16", "sparsity", 733},
                           Slip{"h100-sxm", "/host/nvlink_gb_per_s", "both directions", 900},
                           Slip{"a100-80-sxm", "/host/nvlink_gb_per_s", "both directions", 600},
                           Slip{"h800-sxm", "/host/nvlink_gb_per_s", "both directions", 400},
                           Slip{"rtx3090-nvlink", "/host/nvlink_gb_per_s", "both directions", 112.5},
                           Slip{"rtx4090-p2p", "/device/link_gb_per_s", "both directions", 63}}) {
    nlohmann::json json = nlohmann::json::parse(to_json(load_profile(slip.profile)).dump());
    json[nlohmann::json::json_pointer(slip.pointer)] = slip.value;
    expect_error(ExitCode::kConfig, {"mine.json", slip.says}, [&] { parse_profile(json.dump(), "mine.json"); });
    json["device"]["name"] = "my own";
    EXPECT_NO_THROW(parse_profile(json.dump(), "mine.json")) << slip.profile;
  }
  Profile profile = load_profile("rtx4090");
  EXPECT_NO_THROW(set_values(profile, std::vector<std::string>{"device.peak_tflops.bf16=330.3"}));
  EXPECT_NO_THROW(set_values(profile, std::vector<std::string>{"device.link_gb_per_s=63"}));
}

TEST(Profile, UnitsAThousandTimesOffAndFractionsOfADeviceAreSeen) {
  const auto refused = [](const char* pointer, double value, std::vector<std::string> says) {
    nlohmann::json json = nlohmann::json::parse(to_json(load_profile("h100-sxm")).dump());
    json[nlohmann::json::json_pointer(pointer)] = value;
    expect_error(ExitCode::kConfig, says, [&] { parse_profile(json.dump(), "mine.json"); });
  };
  refused("/device/memory_gb_per_s", 3.35, {"TB/s"});
  refused("/device/peak_tflops/bf16", 0.989, {"PFLOP/s"});
  refused("/device/peak_tflops/fp16", 0.989, {"PFLOP/s"});
  refused("/host/devices", 2.5, {"host.devices is 2.5", "a whole number"});
  refused("/host/peer_access", 0.5, {"a whole number"});
  Profile profile = load_profile("h100-sxm");
  expect_error(ExitCode::kConfig, {"a whole number"},
               [&] { set_values(profile, std::vector<std::string>{"host.devices=4.5"}); });
  EXPECT_NO_THROW(set_values(profile, std::vector<std::string>{"network.oversubscription=1.5"}));
}

// A host gets NVLink in two numbers, neither of which can be alone.
TEST(Profile, NumbersThatBelongTogetherMayComeInAnyOrder) {
  for (const std::vector<std::string>& changes :
       {std::vector<std::string>{"host.nvlink_devices=8", "host.nvlink_gb_per_s=300"},
        std::vector<std::string>{"host.nvlink_gb_per_s=300", "host.nvlink_devices=8"}})
    EXPECT_EQ(load_profile("rtx4090", changes).host.nvlink_devices, 8);
  expect_error(ExitCode::kConfig, {"host.nvlink_gb_per_s is 0"},
               [] { load_profile("rtx4090", std::vector<std::string>{"host.nvlink_devices=8"}); });
  expect_error(ExitCode::kConfig, {"memori_gib", "needs a number"}, [] {
    load_profile("rtx4090", std::vector<std::string>{"device.memori_gib=8", "device.power_w=much"});
  });
}

TEST(Profile, SetChangesOneNumber) {
  Profile profile = load_profile("rtx4090");
  set_values(profile, std::vector<std::string>{"device.memory_gib=80"});
  EXPECT_EQ(profile.device.memory_gib, 80);
  EXPECT_EQ(profile.sources.at("device.memory_gib").certainty, Certainty::kGiven);
  expect_error(ExitCode::kConfig, {"device.memori_gib", "device.memory_gib"},
               [&] { set_values(profile, std::vector<std::string>{"device.memori_gib=80"}); });
  expect_error(ExitCode::kConfig, {"needs a number"},
               [&] { set_values(profile, std::vector<std::string>{"device.memory_gib=lots"}); });
  expect_error(ExitCode::kConfig, {"needs the form"},
               [&] { set_values(profile, std::vector<std::string>{"device.memory_gib"}); });
  expect_error(ExitCode::kConfig, {"needs 0.1 to"},
               [&] { set_values(profile, std::vector<std::string>{"device.memory_gib=-1"}); });
}

}  // namespace
}  // namespace trine
