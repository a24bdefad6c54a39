"""The words seeded data is made of: names, places with their shares and postal codes, goods with prices and seasons.

Streets and names are combined at random; e-mail domains are reserved ones (RFC 2606), telephone numbers invalid.
"""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    "Ada Adam Agnes Alba Alexander Alice Amelie Amina Anders Andrea Anna Anton Arthur Astrid Aurora Beatriz Ben Bianca "
    "Björn Bruno Camille Carla Carlos Caroline Cecilia Charlotte Chiara Clara Claude Daniel David Diana Diego Dora "
    "Eduardo Elena Elias Elif Elin Elisa Ella Emil Emily Emma Enzo Eric Erik Esther Eva Fatima Felix Filip Finn "
    "Florence Francesca Frank Frida George Giulia Grace Greta Gustav Hanna Hannah Harry Hector Hugo Ida Ines Ingrid "
    "Isabel Ivan Jack Jacob Jan Jana Jasmine Jean Johanna John Jonas Jorge Josephine Juan Julia Julian Kai Karim Karin "
    "Katarina Kim Lara Lars Laura Léa Lena Leo Leon Lina Linus Lisa Louis Louise Luca Lucas Lucia Luis Luna Magnus "
    "Manon Marco Maria Marie Marta Martin Mateo Mathilde Matteo Max Maya Mia Michael Mila Miriam Mohamed Nadia Nico "
    "Nils Nina Noah Nora Olga Oliver Olivia Omar Oscar Otto Paul Paula Pedro Per Peter Pierre Rafael Rania Robert Rosa "
    "Ruth Sam Samuel Sara Sebastian Selma Simon Sofia Stefan Stella Susan Theo Thomas Tim Tomás Vera Victor Viola "
    "Walter William Yara Yusuf Zoe"
)

LAST_NAMES = _words(
    "Adams Ahmed Allen Almeida Andersson Bailey Baker Bakker Bauer Becker Bell Berg Bernard Bianchi Blanc Bonnet Brown "
    "Carter Castro Clark Colombo Cook Costa Dahl Davies Delgado Demir Diaz Dubois Eriksson Evans Fernández Ferrari "
    "Fischer Fontaine Fournier Fuchs Garcia Girard Gomez Gonçalves Greco Green Gruber Hall Hansen Hansson Harris "
    "Hernández Hoffmann Holm Huber Hughes Ibrahim Jackson Jansen Jensen Johansson Jones Kaya Keller King Klein Koch "
    "Kowalski Kumar Lambert Larsen Larsson Laurent Lee Lefebvre Leroy Lewis Lind López Lund Maier Marino Martin "
    "Martínez Mayer Meyer Moore Moreau Moreno Morgan Müller Nelson Neumann Nguyen Nielsen Nilsson Novak Olsen Olsson "
    "Ortiz Parker Pereira Persson Peters Petit Phillips Popescu Ramos Ricci Richter Rivera Roberts Rodríguez Rossi "
    "Roux Ruiz Russo Santos Sato Schmidt Schmitt Schneider Schwarz Silva Singh Smit Smith Sousa Svensson Taylor Torres "
    "Turner Vasquez Vidal Visser Vogel Wagner Walker Weber White Williams Wilson Wolf Wright Yilmaz Young Zhang "
    "Zimmermann"
)


@dataclass(frozen=True, slots=True)
class Country:
    """`weight` is its share of the customers; in `postal` # is a digit, in `street` {} the street's own name."""

    name: str
    weight: int
    dial: str
    postal: str
    street: str
    cities: tuple[str, ...]
    streets: tuple[str, ...]


COUNTRIES = (
    Country(
        "Germany",
        30,
        "+49",
        "#####",
        "{} {n}",
        ("Berlin", "Hamburg", "Munich", "Cologne", "Leipzig", "Stuttgart", "Bremen", "Dresden"),
        ("Hauptstraße", "Bahnhofstraße", "Gartenweg", "Lindenallee", "Schulstraße", "Am Markt", "Ringstraße"),
    ),
    Country(
        "France",
        20,
        "+33",
        "#####",
        "{n} {}",
        ("Paris", "Lyon", "Marseille", "Toulouse", "Nantes", "Lille", "Bordeaux"),
        ("rue de la Gare", "rue du Moulin", "avenue des Tilleuls", "place du Marché", "rue Haute", "chemin Vert"),
    ),
    Country(
        "United Kingdom",
        18,
        "+44",
        "M# #AB",
        "{n} {}",
        ("London", "Manchester", "Bristol", "Leeds", "Edinburgh", "Cardiff"),
        ("High Street", "Station Road", "Church Lane", "Mill Road", "Victoria Street", "Park Avenue"),
    ),
    Country(
        "Spain",
        12,
        "+34",
        "#####",
        "{} {n}",
        ("Madrid", "Barcelona", "Valencia", "Seville", "Bilbao"),
        ("Calle Mayor", "Calle Real", "Avenida del Puerto", "Plaza Nueva", "Calle del Sol"),
    ),
    Country(
        "Italy",
        9,
        "+39",
        "#####",
        "{} {n}",
        ("Rome", "Milan", "Turin", "Bologna", "Naples"),
        ("Via Roma", "Via Garibaldi", "Corso Italia", "Via dei Mille", "Piazza Grande"),
    ),
    Country(
        "Netherlands",
        6,
        "+31",
        "#### AB",
        "{} {n}",
        ("Amsterdam", "Rotterdam", "Utrecht", "Eindhoven"),
        ("Kerkstraat", "Dorpsstraat", "Molenweg", "Stationsplein"),
    ),
    Country(
        "Sweden",
        5,
        "+46",
        "### ##",
        "{} {n}",
        ("Stockholm", "Gothenburg", "Malmö", "Uppsala"),
        ("Storgatan", "Kyrkogatan", "Skolgatan", "Ringvägen"),
    ),
)

MAIL_DOMAINS = ("example.com", "example.org", "example.net")

SEGMENTS = {"consumer": 78, "small business": 17, "corporate": 5}
"""Share of the customers in percent."""
BASKETS = {"consumer": 1.0, "small business": 2.2, "corporate": 6.0}
"""How much more often than a consumer they buy."""


@dataclass(frozen=True, slots=True)
class Group:
    """A product group: the middle of its prices, and by month how much of it sells (12 numbers, about 1)."""

    name: str
    price: float
    seasons: tuple[float, ...]
    goods: tuple[str, ...]
    kinds: tuple[str, ...]


GROUPS = (
    Group(
        "Garden",
        28,
        (0.3, 0.4, 1.0, 1.8, 2.0, 1.8, 1.4, 1.1, 0.8, 0.6, 0.4, 0.4),
        ("Spade", "Rake", "Watering Can", "Planter", "Hose", "Lantern", "Pruning Shears"),
        ("Classic", "Compact", "Oak", "Steel"),
    ),
    Group(
        "Toys",
        22,
        (0.6, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.9, 1.1, 1.7, 2.4),
        ("Puzzle", "Building Blocks", "Board Game", "Kite", "Train Set", "Plush Bear"),
        ("Small", "Large", "Travel", "Deluxe"),
    ),
    Group(
        "Kitchen",
        34,
        (0.9, 0.9, 0.9, 1.0, 1.0, 0.9, 0.9, 0.9, 1.0, 1.0, 1.2, 1.4),
        ("Frying Pan", "Kettle", "Knife", "Cutting Board", "Mixing Bowl", "Scale", "Toaster"),
        ("Basic", "Cast Iron", "Copper", "Pro"),
    ),
    Group(
        "Books",
        16,
        (1.1, 0.9, 0.9, 0.9, 0.9, 1.0, 1.2, 1.1, 0.9, 1.0, 1.1, 1.5),
        ("Cookbook", "Atlas", "Novel", "Field Guide", "Picture Book", "Dictionary"),
        ("Paperback", "Hardcover", "Illustrated"),
    ),
    Group(
        "Sports",
        45,
        (1.4, 1.0, 1.1, 1.2, 1.3, 1.2, 1.0, 0.9, 1.0, 0.8, 0.8, 0.9),
        ("Running Shoes", "Yoga Mat", "Dumbbell", "Football", "Helmet", "Racket", "Backpack"),
        ("Junior", "Light", "Team", "Pro"),
    ),
    Group(
        "Electronics",
        110,
        (0.8, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0, 1.0, 1.6, 1.8),
        ("Headphones", "Speaker", "Keyboard", "Charger", "Desk Lamp", "Camera"),
        ("Mini", "Wireless", "Plus", "Studio"),
    ),
    Group(
        "Home Textiles",
        39,
        (1.2, 1.1, 1.0, 0.9, 0.8, 0.8, 0.8, 0.8, 1.0, 1.2, 1.3, 1.2),
        ("Blanket", "Cushion", "Towel", "Curtain", "Rug", "Bed Linen"),
        ("Cotton", "Wool", "Linen", "Striped"),
    ),
    Group(
        "Office Supplies",
        9,
        (1.4, 1.0, 1.0, 0.9, 0.9, 0.8, 0.6, 1.1, 1.6, 1.1, 1.0, 0.8),
        ("Notebook", "Pen Set", "Stapler", "Folder", "Calendar", "Paper"),
        ("A4", "A5", "Recycled", "Deluxe"),
    ),
)

WEEKDAYS = (0.9, 0.85, 0.9, 0.95, 1.15, 1.45, 0.8)
"""How much sells from Monday to Sunday; the shop is busiest on Saturdays."""
HOURS = (1, 0, 0, 0, 0, 1, 2, 4, 7, 9, 11, 12, 11, 9, 8, 9, 11, 13, 14, 12, 9, 6, 4, 2)
"""How much sells in each hour of a day, UTC."""

ADJECTIVES = _words(
    "Amber Ancient Bold Brave Bright Calm Clever Cosmic Crimson Dark Electric Fierce Gentle Golden Grim Hidden Icy "
    "Iron Jolly Keen Lucky Lunar Mighty Misty Noble Quiet Rapid Red Royal Rusty Shadow Silent Silver Sly Solar Swift "
    "Velvet Wild Wise"
)
ANIMALS = _words(
    "Badger Bear Crow Dragon Eagle Falcon Fox Hare Hawk Heron Jackal Lion Lynx Magpie Mole Otter Owl Panther Raven "
    "Shark Sparrow Stoat Tiger Viper Weasel Wolf"
)
PLACES = _words("Alley Bar Casino Cellar Court Docks Garden Harbour Hotel Lounge Market Palace Square Station Tower")
DEVICES = ("android", "ios", "web", "windows", "macos")

ROLES = (
    ("Citizen", "town", "Has one voice by day, and sleeps at night."),
    ("Mafia", "mafia", "Chooses with the other mafiosi whom to kill at night."),
    ("Doctor", "town", "Saves one player a night."),
    ("Detective", "town", "Learns one player's side a night."),
)
"""Name, side and description of each role."""
