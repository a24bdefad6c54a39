"""Settings: which source wins, where relative paths start, what is refused, and that no secret is shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from starberg.utils.errors import DeclarationError, UsageError
from starberg.utils.secrets import Redactor, mask_passwords
from starberg.utils.settings import Settings, variable


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "starberg.toml").touch()
    return tmp_path


def toml(project: Path, text: str) -> Path:
    (project / "starberg.toml").write_text(text)
    return project


def load(project: Path | None = None, overrides: dict[str, str] | None = None, /, **environ: str) -> Settings:
    return Settings.load(project, overrides or {}, environ)


def origins(settings: Settings) -> dict[str, tuple[str | None, str]]:
    return {line.name: (line.value, line.origin) for line in settings.shown()}


def secret_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


# Which source wins


def test_sources_win_in_order_and_each_value_names_its_own(project: Path) -> None:
    toml(project, 'memory_limit = "1GiB"\nlog_level = "error"\n[env.prod]\nmemory_limit = "2GiB"\n')
    assert origins(load(project))["STARBERG_MEMORY_LIMIT"] == ("1GiB", "starberg.toml")
    environ = {"STARBERG_ENV": "prod"}
    assert origins(load(project, **environ))["STARBERG_MEMORY_LIMIT"] == ("2GiB", "starberg.toml [env.prod]")
    (project / ".env").write_text("STARBERG_MEMORY_LIMIT=3GiB\n")
    assert origins(load(project, **environ))["STARBERG_MEMORY_LIMIT"] == ("3GiB", ".env")
    environ["STARBERG_MEMORY_LIMIT"] = "4GiB"
    assert origins(load(project, **environ))["STARBERG_MEMORY_LIMIT"] == ("4GiB", "environment")
    overrides = {"STARBERG_MEMORY_LIMIT": "5GiB"}
    assert origins(load(project, overrides, **environ))["STARBERG_MEMORY_LIMIT"] == ("5GiB", "command line")
    assert origins(load(project))["LOG_LEVEL"] == ("error", "starberg.toml")
    assert origins(load(project))["STARBERG_THREADS"] == (None, "default")


def test_an_empty_variable_counts_as_not_set(project: Path) -> None:
    assert load(toml(project, "threads = 3"), STARBERG_THREADS="").threads == 3


def test_the_project_is_found_upward(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project / "a" / "b")
    assert load().project == project


def test_without_a_project_the_dotenv_of_the_working_directory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("export STARBERG_THREADS='2' # cores\n")
    settings = load()
    assert (settings.project, settings.threads) == (None, 2)


def test_an_environment_that_is_not_declared_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match=r"has no \[env.prd\]; it has: prod, test"):
        load(toml(project, "[env.prod]\n[env.test]\n"), STARBERG_ENV="prd")


def test_a_project_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no starberg.toml in"):
        load(tmp_path)


# Paths


def test_a_relative_path_starts_where_it_was_written(project: Path) -> None:
    assert load(project).home == project / ".starberg"
    assert load(toml(project, 'home = "lakes/a"')).home == project / "lakes/a"
    assert load(project, STARBERG_HOME="mine").home == Path("mine")
    assert load(project, {"STARBERG_HOME": "mine"}).home == Path("mine")
    assert load(project, STARBERG_HOME="~/mine").home == Path.home() / "mine"


def test_the_lake_lies_in_the_home_unless_it_is_set(project: Path) -> None:
    assert load(project, STARBERG_HOME="/data").lake == "/data/lake"
    assert load(project, STARBERG_LAKE="s3://games/lake/").lake == "s3://games/lake"
    with pytest.raises(UsageError, match=r"STARBERG_LAKE \(environment\): must be a folder or s3://bucket/prefix"):
        load(project, STARBERG_LAKE="gs://games")


# Which catalog


@pytest.mark.parametrize(
    ("environ", "kind", "origin"),
    [
        ({}, "sqlite", "default"),
        ({"NESSIE_URI": "http://nessie:19120"}, "nessie", "NESSIE_URI is set"),
        ({"WAREHOUSE_DATABASE_URL": "postgresql://db/w"}, "postgresql", "WAREHOUSE_DATABASE_URL is set"),
        ({"ICEBERG_REST_URI": "http://rest"}, "rest", "ICEBERG_REST_URI is set"),
        ({"NESSIE_URI": "http://nessie:19120", "STARBERG_CATALOG": "sqlite"}, "sqlite", "environment"),
    ],
)
def test_the_catalog_follows_from_what_is_set(project: Path, environ: dict[str, str], kind: str, origin: str) -> None:
    assert origins(load(project, **environ))["STARBERG_CATALOG"] == (kind, origin)


def test_a_catalog_without_its_address_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="the nessie catalog needs NESSIE_URI"):
        load(project, STARBERG_CATALOG="nessie")


def test_the_database_url_is_built_from_its_parts(project: Path) -> None:
    settings = load(project, WAREHOUSE_DB_HOST="db", WAREHOUSE_DB_USER="e tl", WAREHOUSE_DB_PASSWORD="p@s/s")
    assert settings.catalog == "postgresql"
    assert settings.warehouse_database_url == SecretStr("postgresql://e%20tl:p%40s%2Fs@db:5432/warehouse")
    inside = load(project, WAREHOUSE_DB_HOST="db", WAREHOUSE_DB_SSLMODE="prefer")
    assert inside.warehouse_database_url == SecretStr("postgresql://postgres@db:5432/warehouse?sslmode=prefer")
    with pytest.raises(UsageError, match="WAREHOUSE_DB_SSLMODE"):
        load(project, WAREHOUSE_DB_SSLMODE="sometimes")


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\n", r":1: a: unknown setting. Known: catalog, dremio_ca, "),
        ("threads = 2\n\nhmoe = 'x'\n", r":3: hmoe: unknown setting. Did you mean 'home'\?"),
        ("[env.prod]\nthreads = 1\n[env.test]\ncatalogue = 'sqlite'\n", r":4: catalogue: .* Did you mean 'catalog'\?"),
        (
            "minio_secret_key = 'x'\n",
            r":1: minio_secret_key: is a secret. Set MINIO_SECRET_KEY or MINIO_SECRET_KEY_FILE",
        ),
        ("warehouse_database_url = 'postgresql://u:pw@h/d'\n", r":1: warehouse_database_url: is a secret"),
        ("[secrets]\nRAWG_API_KEY = 'x'\n", r":1: secrets: secrets do not belong into this file"),
        ("[variables]\nRAWG_API_KEY = 'x'\n", r":2: RAWG_API_KEY: is a secret"),
        ("[variables]\nDB = 'postgresql://u:pw@h/d'\n", r":2: DB: is a secret"),
        ("[variables]\nNESSIE_URI = 'x'\n", r":2: NESSIE_URI: is a setting. Write nessie_uri"),
        ("[variables]\nA = ['x']\n", r":2: A: must be"),
        ("variables = 1\n", r":1: variables: is no table"),
        ("env = 1\n", r":1: env: is no table"),
        ("env.prod = 1\n", r"env.prod.*: is no table|prod: is no table"),
        ("threads = 2\nthreads = 3\n", r":2: no valid TOML"),
        ("threads = 'many'\n", r":1: threads: .*integer"),
        ("threads = [1]\n", r":1: threads: must be a text"),
    ],
)
def test_a_mistake_in_the_project_file_names_line_and_key(project: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        load(toml(project, text))
    assert "pw" not in str(raised.value)


def test_a_mistake_in_an_environment_that_is_not_picked_shows_too(project: Path) -> None:
    with pytest.raises(DeclarationError, match=":2: thread: unknown setting"):
        load(toml(project, "[env.prod]\nthread = 1\n"))


def test_a_line_of_dotenv_that_cannot_be_read_is_an_error(project: Path) -> None:
    (project / ".env").write_text("A=1\nnot a variable\n")
    with pytest.raises(DeclarationError, match=r"\.env:2: this is not NAME=value"):
        load(project)


def test_a_variable_that_is_nearly_a_setting_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match=r"STARBERG_CATALGO is set.* Did you mean STARBERG_CATALOG\?"):
        load(project, STARBERG_CATALGO="nessie")
    load(project, STARBERG_IMAGE_TAG="1.2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STARBERG_THREADS", "0"),
        ("STARBERG_MEMORY_LIMIT", "2 GIGS"),
        ("STARBERG_CATALOG", "glue"),
        ("LOG_LEVEL", "loud"),
        ("ETL_DEBUG", "maybe"),
        ("NESSIE_URI", "http://user:pw@nessie"),
        ("MINIO_ENDPOINT", "ftp://minio"),
    ],
)
def test_a_value_of_the_wrong_kind_names_the_variable_and_hides_the_value(project: Path, name: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} \(environment\): ") as raised:
        load(project, **{name: value})
    assert "user:pw" not in str(raised.value)


def test_usual_spellings_are_understood(project: Path) -> None:
    settings = load(project, LOG_LEVEL="WARN", ETL_DEBUG="1", MINIO_ENDPOINT="minio:9000")
    assert (settings.log_level, settings.etl_debug, settings.minio_endpoint) == ("warning", True, "http://minio:9000")


def test_settings_cannot_be_changed(project: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(project).threads = 8  # type: ignore[misc]


# Secrets


def test_a_secret_comes_from_a_file_too(project: Path, tmp_path: Path) -> None:
    path = secret_file(tmp_path, "s3cr3t-s3cr3t\n")
    settings = load(project, MINIO_SECRET_KEY_FILE=path, RAWG_API_KEY_FILE=path)
    assert settings.minio_secret_key == SecretStr("s3cr3t-s3cr3t")
    assert settings.secret("RAWG_API_KEY") == SecretStr("s3cr3t-s3cr3t")
    assert settings.environment["RAWG_API_KEY"] == "s3cr3t-s3cr3t"
    assert origins(settings)["MINIO_SECRET_KEY"] == ("********", f"file {path}")


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [("x", 0o644, "every user of this machine can read .* Type `chmod o-r "), ("\n", 0o600, "is empty")],
)
def test_a_secret_file_that_is_open_or_empty_is_refused(project: Path, text: str, mode: int, message: str) -> None:
    with pytest.raises(UsageError, match=f"^NESSIE_TOKEN_FILE: .*{message}"):
        load(project, NESSIE_TOKEN_FILE=secret_file(project, text, mode))


def test_files_of_other_programs_are_left_alone(project: Path, tmp_path: Path) -> None:
    settings = load(project, SSL_CERT_FILE=secret_file(tmp_path, "public", 0o644), A="1")
    assert dict(settings.environment) == {"A": "1", "SSL_CERT_FILE": str(tmp_path / "secret")}
    settings.shown()


def test_a_missing_secret_file_is_one_line(project: Path) -> None:
    with pytest.raises(UsageError, match="NESSIE_TOKEN_FILE: cannot read /nowhere: No such file"):
        load(project, NESSIE_TOKEN_FILE="/nowhere")


def test_a_secret_given_twice_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="NESSIE_TOKEN and NESSIE_TOKEN_FILE are both set"):
        load(project, NESSIE_TOKEN="x", NESSIE_TOKEN_FILE="y")


def test_a_secret_may_stand_in_dotenv_but_not_among_the_variables_of_the_project_file(project: Path) -> None:
    (project / ".env").write_text("RAWG_API_KEY=abcdefgh\n")
    settings = load(toml(project, "[variables]\nLOGIN = 'x'\n"))
    assert settings.secret("RAWG_API_KEY") == SecretStr("abcdefgh")
    assert settings.secret("ABSENT_KEY") is None
    with pytest.raises(UsageError, match=r"LOGIN is a secret and stands in starberg.toml \[variables\]"):
        settings.secret("LOGIN")


def test_variables_merge_environment_dotenv_and_project_file(project: Path) -> None:
    toml(project, "[variables]\nA = 1\nB = 'toml'\nC = true\nD = 2025-01-01\n[env.prod.variables]\nA = 2\n")
    (project / ".env").write_text("B=dotenv\n")
    settings = load(project, STARBERG_ENV="prod", E="environment")
    assert {name: settings.environment[name] for name in "ABCDE"} == {
        "A": "2",
        "B": "dotenv",
        "C": "true",
        "D": "2025-01-01",
        "E": "environment",
    }
    assert origins(settings)["A"] == ("2", "starberg.toml [env.prod.variables]")
    assert origins(settings)["B"] == ("********", ".env")
    assert "E" not in origins(settings)


def test_no_secret_shows_in_config_or_repr(project: Path) -> None:
    secrets = [name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None]
    canaries = {variable(name): f"canary-{name}" for name in [*secrets, "rawg_api_key"]}
    url = "postgresql://etl:canary-url@db:5432/w?sslpassword=canary-ssl"
    settings = load(project, **{**canaries, "WAREHOUSE_DATABASE_URL": url})
    settings.secret("RAWG_API_KEY")
    for text in (repr(settings), str(settings), repr(settings.shown()), repr(settings.environment)):
        assert "canary" not in text
    assert origins(settings)["WAREHOUSE_DATABASE_URL"][0] == "postgresql://etl:********@db:5432/w?sslpassword=********"
    canaries.pop("WAREHOUSE_DATABASE_URL")
    assert {*canaries.values(), "canary-url", "canary-ssl"} <= set(settings.secret_values())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:********@h/d"),
        ("postgresql://u:p/a@s#s@h/d", "postgresql://u:********@h/d"),
        ("host=h password=geheim user=u", "host=h password=******** user=u"),
        ("host=h password='ge heim' user=u", "host=h password=******** user=u"),
        ("GET /games?api_key=abc&page=2", "GET /games?api_key=********&page=2"),
        ("http://h:80/a", "http://h:80/a"),
    ],
)
def test_only_the_password_of_a_connection_string_is_masked(text: str, shown: str) -> None:
    assert mask_passwords(text) == shown


def test_the_redactor_hides_encoded_and_later_secrets_and_spares_parts_of_words() -> None:
    known = ["s3cr/t==", "postgres", "abc", "pass"]
    redact = Redactor(lambda: known)
    assert redact("s3cr/t== s3cr%2Ft%3D%3D") == "******** ********"
    assert redact("passage pass abc") == "passage ******** abc"
    known.append("later-secret")
    assert redact("a later-secret!") == "a ********!"
