-- One role and one database for each user of this PostgreSQL; run once, on an empty volume, by psql as the superuser.
\getenv password NESSIE_DB_PASSWORD
create role nessie login password :'password';
create database nessie owner nessie;

\getenv password WAREHOUSE_DB_PASSWORD
create role starberg login password :'password';
create database warehouse owner starberg;

revoke connect on database postgres, nessie, warehouse from public;
