"""What the profile service measures beside what every service does."""

from sima_runtime.telemetry import meter

facts_received = meter("sima.profile").create_counter(
    "sima_profile_facts", "1", "Facts received, by outcome: accepted, duplicate, refused or conflict."
)
