#include "conformance/server/profile.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace conformance {

bool ServerProfile::wants_disk() const
{
    return std::ranges::any_of(command, [](const auto& word) { return word.contains("{disk}"); });
}

std::string encode_profile(const ServerProfile& profile)
{
    const nlohmann::json json{{"schema", 1},
                              {"command", profile.command},
                              {"setup", profile.setup},
                              {"end", profile.end},
                              {"keeps_data", profile.keeps_data},
                              {"persistent", profile.persistent},
                              {"read_only", profile.read_only},
                              {"discard_zeroes", profile.discard_zeroes},
                              {"end_status", profile.end_status},
                              {"start_seconds", profile.start_seconds},
                              {"end_seconds", profile.end_seconds},
                              {"disk_mib", profile.disk_mib}};
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::expected<ServerProfile, std::string> decode_profile(const std::string& text)
{
    try {
        const auto json = nlohmann::json::parse(text);
        ServerProfile profile;
        json.at("command").get_to(profile.command);
        json.at("setup").get_to(profile.setup);
        json.at("end").get_to(profile.end);
        json.at("keeps_data").get_to(profile.keeps_data);
        json.at("persistent").get_to(profile.persistent);
        json.at("read_only").get_to(profile.read_only);
        json.at("discard_zeroes").get_to(profile.discard_zeroes);
        json.at("end_status").get_to(profile.end_status);
        json.at("start_seconds").get_to(profile.start_seconds);
        json.at("end_seconds").get_to(profile.end_seconds);
        json.at("disk_mib").get_to(profile.disk_mib);
        if (profile.command.empty())
            return std::unexpected("the command is empty");
        return profile;
    } catch (const nlohmann::json::exception& e) {
        return std::unexpected(e.what());
    }
}

Words filled_in(Words words, const std::string& name, const std::string& value)
{
    for (auto& word : words) {
        for (auto at = word.find(name); at != std::string::npos; at = word.find(name, at + value.size()))
            word.replace(at, name.size(), value);
    }
    return words;
}

} // namespace conformance
