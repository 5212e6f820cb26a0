// Reads a device description and checks it, so that no other part of memwall has to.
//
// A file states sections named as the members of `Device`; each leaf is
//   {"value": 30, "unit": "cycles", "kind": "spec|measured|inferred|assumed", "source": "where the number comes from"}
// and "extends": "h100-sxm5" takes what the file does not state from another. Every problem is an InputError that names
// file and JSON pointer, what was found and what is allowed.
#pragma once

#include <string>
#include <vector>

#include "device/device.h"

namespace memwall::device {

/// One leaf as it was read: for `device show`.
struct Entry {
    std::string pointer;  ///< "/sm/max_threads"
    std::string value;    ///< as JSON text
    std::string unit;
    std::string kind;  ///< "spec", "measured", "inferred", "assumed", or "set" (from --set)
    std::string source;
    std::string file;  ///< that stated it
};

/// A device with the provenance of each of its numbers, in the order of the structs.
struct Description {
    Device device;
    std::vector<Entry> entries;
};

/// `name_or_path` is a name in one of the folders, or a path. An override is "/json/pointer=value"; the pointer names
/// an entry or its /value.
[[nodiscard]] Description read_description(const std::string& name_or_path, const std::vector<std::string>& config_dirs,
                                           const std::vector<std::string>& overrides);

[[nodiscard]] Device load_device(const std::string& name_or_path, const std::vector<std::string>& config_dirs,
                                 const std::vector<std::string>& overrides);

/// Names of the devices in the folders, sorted, each once. A folder that is not there is empty.
[[nodiscard]] std::vector<std::string> list_devices(const std::vector<std::string>& config_dirs);

/// Cross-checks between fields (each alone is in its range already). `file` stands in the errors.
void check_device(const Device& device, const std::string& file);

}  // namespace memwall::device
