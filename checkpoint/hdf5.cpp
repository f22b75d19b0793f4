#include "checkpoint/hdf5.h"

#include <array>

namespace trine {
namespace {

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

DataError failed(const std::filesystem::path& file, const char* what) {
  return DataError(fmt::format("[checkpoint] {}: {} failed: {}. The file is damaged: use another checkpoint.",
                               file.string(), what, hdf5_error()));
}

H5Id float_type(int bytes, size_t exponent_bits, size_t mantissa_bits) {
  H5Id type(H5Tcopy(H5T_IEEE_F32LE), {}, "copying a type");
  H5Tset_fields(type, exponent_bits + mantissa_bits, mantissa_bits, exponent_bits, 0, mantissa_bits);
  H5Tset_ebias(type, (size_t{1} << (exponent_bits - 1)) - 1);
  H5Tset_precision(type, static_cast<size_t>(bytes) * 8);
  H5Tset_size(type, static_cast<size_t>(bytes));
  return type;
}

}  // namespace

Hdf5Lock::Hdf5Lock() : lock_(library_mutex()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

std::string hdf5_error() {
  std::string text;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned n, const H5E_error2_t* error, void* out) -> herr_t {
        if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &text);
  return text.empty() ? "no reason given" : text;
}

H5Id::H5Id(hid_t id, const std::filesystem::path& file, const char* what) : id_(id) {
  if (id_ < 0) throw failed(file, what);
}

void H5Id::close() {
  if (id_ < 0) return;
  const Hdf5Lock lock;
  H5Idec_ref(std::exchange(id_, H5I_INVALID_HID));
}

void h5_check(herr_t status, const std::filesystem::path& file, const char* what) {
  if (status < 0) throw failed(file, what);
}

H5Id without_times(hid_t list_class, const std::filesystem::path& file) {
  H5Id list(H5Pcreate(list_class), file, "creating a property list");
  h5_check(H5Pset_obj_track_times(list, false), file, "leaving out times");
  return list;
}

H5Id file_type(DType dtype) {
  const auto copy = [](hid_t type) { return H5Id(H5Tcopy(type), {}, "copying a type"); };
  switch (dtype) {
    case DType::kF32:
      return copy(H5T_IEEE_F32LE);
    case DType::kBF16:
      return float_type(2, 8, 7);
    case DType::kF16:
      return float_type(2, 5, 10);
    case DType::kI32:
      return copy(H5T_STD_I32LE);
    case DType::kI64:
      return copy(H5T_STD_I64LE);
    case DType::kU8:
      return copy(H5T_STD_U8LE);
  }
  TRINE_CHECK(false);
}

void write_attribute(hid_t object, const std::filesystem::path& file, const char* name,
                     std::span<const int64_t> values) {
  const hsize_t size = values.size();
  const H5Id space(H5Screate_simple(1, &size, nullptr), file, "creating an attribute");
  const H5Id attribute(H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT), file,
                       "creating an attribute");
  h5_check(H5Awrite(attribute, H5T_NATIVE_INT64, values.data()), file, "writing an attribute");
}

void write_attribute(hid_t object, const std::filesystem::path& file, const char* name, const std::string& text) {
  const H5Id type(H5Tcopy(H5T_C_S1), file, "creating an attribute");
  H5Tset_size(type, text.size());
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  const H5Id space(H5Screate(H5S_SCALAR), file, "creating an attribute");
  const H5Id attribute(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT), file,
                       "creating an attribute");
  h5_check(H5Awrite(attribute, type, text.data()), file, "writing an attribute");
}

}  // namespace trine
