//! Databases that drivers among the dependencies speak of, and the services that stand for them.
//!
//! Imports: nothing. Sources: pages of the official images `postgres`, `mysql`, `mongo`, `redis`.

/// A database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Database {
    Postgres,
    Mysql,
    Mongo,
    Redis,
}

/// Packages that speak to a database, of all languages; a Go module counts with its path up to a slash.
const DRIVERS: [(Database, &[&str]); 4] = [
    (
        Database::Postgres,
        &[
            "psycopg",
            "psycopg2",
            "psycopg2-binary",
            "asyncpg",
            "pg8000",
            "pg",
            "pg-promise",
            "postgres",
            "@prisma/adapter-pg",
            "tokio-postgres",
            "deadpool-postgres",
            "github.com/lib/pq",
            "github.com/jackc/pgx",
            "gorm.io/driver/postgres",
        ],
    ),
    (
        Database::Mysql,
        &[
            "mysqlclient",
            "pymysql",
            "mysql-connector-python",
            "aiomysql",
            "mysql",
            "mysql2",
            "mysql_async",
            "github.com/go-sql-driver/mysql",
            "gorm.io/driver/mysql",
        ],
    ),
    (
        Database::Mongo,
        &[
            "pymongo",
            "motor",
            "mongoengine",
            "beanie",
            "mongoose",
            "mongodb",
            "go.mongodb.org/mongo-driver",
        ],
    ),
    (
        Database::Redis,
        &[
            "redis",
            "aioredis",
            "rq",
            "django-redis",
            "ioredis",
            "bullmq",
            "connect-redis",
            "deadpool-redis",
            "github.com/redis/go-redis",
            "github.com/go-redis/redis",
            "github.com/gomodule/redigo",
        ],
    ),
];

impl Database {
    /// The database that a package speaks to.
    pub(super) fn of_driver(package: &str) -> Option<Self> {
        let meant = |name: &str| {
            let rest = package.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest.is_empty() || (name.contains('.') && rest.starts_with('/'))
            })
        };
        let found = DRIVERS
            .iter()
            .find(|(_, names)| names.iter().any(|name| meant(name)));
        found.map(|(database, _)| *database)
    }
    /// As a feature or a provider is called: `postgres`, `postgresql`, `mysql`.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::Mysql),
            "mongodb" => Some(Self::Mongo),
            "redis" => Some(Self::Redis),
            _ => None,
        }
    }
    /// Name of its service.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Postgres => "db",
            Self::Mysql => "mysql",
            Self::Mongo => "mongo",
            Self::Redis => "redis",
        }
    }
    /// As users call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mongo => "MongoDB",
            Self::Redis => "Redis",
        }
    }
    /// The variable that tells an application where it is.
    pub(super) fn variable(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => (
                "DATABASE_URL",
                "postgresql://app:${DB_PASSWORD:-app}@db:5432/app",
            ),
            Self::Mysql => (
                "MYSQL_URL",
                "mysql://app:${MYSQL_PASSWORD:-app}@mysql:3306/app",
            ),
            Self::Mongo => ("MONGODB_URI", "mongodb://mongo:27017/app"),
            Self::Redis => ("REDIS_URL", "redis://redis:6379/0"),
        }
    }
    /// Its volume.
    pub(super) fn volume(self) -> &'static str {
        match self {
            Self::Postgres => "db-data",
            Self::Mysql => "mysql-data",
            Self::Mongo => "mongo-data",
            Self::Redis => "redis-data",
        }
    }
    /// Its service, as a part of the compose file.
    pub(super) fn text(self) -> String {
        let (image, environment, data, test) = match self {
            Self::Postgres => (
                "postgres:17",
                "    environment:\n      POSTGRES_USER: app\n      # for your machine only; DB_PASSWORD in .env changes it\n      POSTGRES_PASSWORD: ${DB_PASSWORD:-app}\n      POSTGRES_DB: app\n",
                "/var/lib/postgresql/data",
                r#"["CMD-SHELL", "pg_isready --quiet --host=127.0.0.1 --username=app --dbname=app"]"#,
            ),
            Self::Mysql => (
                "mysql:8.4",
                "    environment:\n      MYSQL_USER: app\n      # for your machine only; MYSQL_PASSWORD in .env changes it\n      MYSQL_PASSWORD: ${MYSQL_PASSWORD:-app}\n      MYSQL_DATABASE: app\n      MYSQL_RANDOM_ROOT_PASSWORD: \"1\"\n",
                "/var/lib/mysql",
                r#"["CMD-SHELL", "mysqladmin ping --host=127.0.0.1 --user=app --password=$$MYSQL_PASSWORD --silent"]"#,
            ),
            Self::Mongo => (
                "mongo:8",
                "",
                "/data/db",
                r#"["CMD", "mongosh", "--quiet", "--eval", "db.runCommand({ping: 1}).ok"]"#,
            ),
            Self::Redis => (
                "redis:8-alpine",
                "",
                "/data",
                r#"["CMD", "redis-cli", "ping"]"#,
            ),
        };
        let (service, volume) = (self.service(), self.volume());
        format!(
            "  {service}:\n    image: {image}\n{environment}    volumes:\n      - {volume}:{data}\n    healthcheck:\n      \
             test: {test}\n      interval: 10s\n      timeout: 3s\n      retries: 5\n      start_period: 60s\n      \
             start_interval: 500ms\n"
        )
    }
}
